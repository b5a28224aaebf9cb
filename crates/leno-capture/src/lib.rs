//! Getting the traffic: a redirect plan, and applying it.
