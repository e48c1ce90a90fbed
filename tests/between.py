"""A client of redis-py whose commands others may come between: before one, or after its answer."""

from collections.abc import Callable
from typing import Any

import redis

from cache.remote import scripts
from cache.remote.scripts import Script

_NAMES = {
    script.digest: name for name, script in vars(scripts).items() if isinstance(script, Script)
}


class Between:
    """Notes the commands of a client, and lets others act between two of them.

    A command is called by its name, a script by the name that it has in `cache.remote.scripts`.
    """

    def __init__(self, client: Any) -> None:
        for script in vars(scripts).values():
            if isinstance(script, Script):
                client.script_load(script.text)  # so that each is one command
        self.sent: list[str] = []
        self._acts: dict[tuple[str, str], list[tuple[int, Callable[[], object]]]] = {}
        execute = client.execute_command

        def execute_between(*words: Any, **options: Any) -> Any:
            name = _NAMES.get(words[1], words[0]) if words[0] == "EVALSHA" else words[0]
            self.sent.append(name)
            self._come("before", name)
            answer = execute(*words, **options)
            self._come("after", name)
            return answer

        client.execute_command = execute_between

    def before(self, name: str, act: Callable[[], object], number: int = 1) -> None:
        """Have `act` called once, before the next command of that name, or the one `number` on."""
        self._acts.setdefault(("before", name), []).append((number, act))

    def after(self, name: str, act: Callable[[], object], number: int = 1) -> None:
        """Have `act` called once, when the command is answered and its caller does not know it."""
        self._acts.setdefault(("after", name), []).append((number, act))

    def lose(self, name: str, times: int = 1) -> None:
        """Lose the answers to the next commands of that name, which the server carries out."""
        for number in range(1, times + 1):
            self.after(name, _lost, number)

    def refuse(self, name: str, times: int = 1) -> None:
        """Lose the next commands of that name on their way."""
        for number in range(1, times + 1):
            self.before(name, _lost, number)

    def _come(self, when: str, name: str) -> None:
        acts = self._acts.pop((when, name), [])
        later = [(number - 1, act) for number, act in acts if number > 1]
        if later:
            self._acts[when, name] = later
        for number, act in acts:
            if number == 1:
                act()


def _lost() -> None:
    raise redis.ConnectionError("lost on purpose")
