//! The user's words: Istio's and the Gateway API's objects, parsed with their place in the file.
