"""The local stack: LocalStack and Postgres as plain processes, the template deployed to them.

| module       | its job                                                                       |
|--------------|-------------------------------------------------------------------------------|
| `__main__`   | the commands: `up`, `down`, `run`, …                                          |
| `settings`   | where everything is: folders, ports, generated passwords                      |
| `processes`  | start a process, recognise it by its pid, stop it                             |
| `postgres`   | a Postgres server of our own: database, role, schema                          |
| `emulator`   | LocalStack                                                                    |
| `browser`    | a page in a headless Chromium                                                 |
| `mapping`    | the mapping that is deployed, and under which name                            |
| `deploy`     | secrets, `sam build`, `sam deploy`                                            |
| `tool`       | the command-line tool: compile it, have it make the tables of a mapping       |
| `run`        | the 100 messages: send, wait, check the numbers                               |
| `chaos`      | faults under live traffic, and the balance afterwards                         |
| `traffic`    | the messages of that, and what of them is in the tables                       |
| `proxy`      | a proxy in front of Postgres that can cut connections                         |
| `report`     | output for people: steps with their time, tables, progress                    |
| `executor`   | LocalStack's plugin that runs a Lambda function as a process                  |
| `sandbox`    | one such process, independent of LocalStack                                   |
| `runtime_api`| the Lambda Runtime API server that it talks to                                |
| `server`     | LocalStack's plugin that keeps its web server on the loopback interface       |
"""
