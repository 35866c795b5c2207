"""ECS Exec: sessions in which a client talks to a process in a container, over the data protocol of the Session Manager.

    messages    what goes over the wire: the binary messages and the JSON inside them
    channel     one end's view of the stream: numbers, acknowledgements, repetition; pure
    input       what the client types, until the process takes it
    session     the pump between a WebSocket and a process
    page        all sessions: opening, tokens, the page that clients connect to
    mounting    where the daemon puts that page

`aws ecs execute-command` (and Session Manager's plugin that it starts) is the client. The protocol has no public specification; it is what the plugin
does: https://github.com/aws/session-manager-plugin, and on the other side https://github.com/aws/amazon-ssm-agent.
"""
