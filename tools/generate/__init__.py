"""What tools/generate_api.py is made of: it turns botocore's service models into `services/<name>/api.py` and `wire.json`.

config    reads models/<service>.toml
model     loads botocore's model, applies the overrides, cuts it down to what the listed operations reach
names     AWS's names -> Python's
patterns  Java's regular expressions -> Python's
source    the text of api.py
wire      the text of wire.json
index     the table of all services by which the edge identifies a request
"""
