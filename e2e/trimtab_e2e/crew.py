"""The programs that one cluster runs, by name, remembered on disk so that others can end them."""

import signal
from collections.abc import Callable, Mapping, Sequence

from trimtab_e2e import processes
from trimtab_e2e.processes import Child, Guardian
from trimtab_e2e.registry import State


class Crew:
    """Starts, watches and ends the programs of one cluster."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._guardian: Guardian | None = None
        self._children: dict[str, Child] = {
            name: Child(name, pid, state.folder / "logs" / f"{name}.log")
            for name, pid in state.pids.items()
        }

    def guard(self, *, keep: bool) -> None:
        """Let what is started from now on die with this process."""
        self._guardian = Guardian(self._state.folder, keep=keep)

    def start(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> Child:
        """Start a program under a name, replacing an earlier one that has ended."""
        group = None if self._guardian is None else self._guardian.group
        child = processes.spawn(name, command, self._state.folder, group=group, env=env)
        self._children[name] = child
        self._remember()
        return child

    def wait_until(self, ready: Callable[[], bool], what: str, *names: str) -> None:
        """Wait for something that the named programs must bring about."""
        processes.wait_until(ready, what, [self._children[name] for name in names])

    def running(self, name: str) -> bool:
        """Tell whether the program of that name runs."""
        return name in self._children and self._children[name].alive()

    def stop(self, name: str) -> None:
        """End one program; nothing happens if it does not run."""
        self._end(name, processes.stop)

    def kill(self, name: str) -> None:
        """End one program without warning, as a crash would."""
        self._end(name, processes.kill)

    def signal(self, name: str, signum: signal.Signals) -> None:
        """Send one program a signal, if it runs."""
        if name in self._children:
            self._children[name].send(signum)

    def stop_all(self) -> None:
        """End everything, and the guardian."""
        processes.stop(self._children.values())
        self._children.clear()
        self._remember()
        if self._guardian is not None:
            self._guardian.dismiss()
            self._guardian = None

    def members(self) -> list[Child]:
        """Give the programs, in the order in which they were started."""
        return list(self._children.values())

    def _end(self, name: str, how: Callable[[list[Child]], None]) -> None:
        child = self._children.pop(name, None)
        if child is not None:
            how([child])
            self._remember()

    def _remember(self) -> None:
        self._state.pids = {name: child.pid for name, child in self._children.items()}
        self._state.save()
