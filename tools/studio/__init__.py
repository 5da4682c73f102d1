"""What the studio is measured and attacked with; `docs/studio.md` holds what they said.

python -m tools.studio.start      time to the first page
python -m tools.studio.kills      SIGKILL of web, worker and both; cancels
python -m tools.studio.load       many clients at once, and a long queue
python -m tools.studio.uploads    hostile pictures, and the memory of the web process
python -m tools.studio.audit      what the processes open, run and connect to
python -m tools.studio.fuzz       Schemathesis over the live API
"""
