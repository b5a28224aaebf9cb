"""leno's data plane against Envoy, HAProxy and nginx: `just bench`, or `python3 -m meshbench` in bench/."""
