"""The data plane: sockets that listen, rules that choose, connections to targets.

listening ──▶ fronts ──▶ answering ──▶ routing (which rule)                            HTTP
    │                        └──▶ choosing (which target) ──▶ forwarding ──▶ dialing
    └──▶ relaying ───────────────▶ choosing ─────────────────────────────▶ dialing      TCP
"""
