"""One connection to the store for several threads, which can be opened anew while they run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from vppctl.store.base import Store


class Session:
    """An open store, and the sign to let go of it."""

    def __init__(self, store: Store) -> None:
        self.store, self.over, self.users = store, threading.Event(), 0


class SharedStore:
    """Opens a store when the first one asks for it, and closes it when nobody uses it any more and `renew` was called.

    Certificates, passwords and endpoints are read when a store is opened.
    """

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open = open_store
        self._lock = threading.Lock()
        self._session: Session | None = None

    def take(self) -> Session:
        """The store of now, until `over` is set. Raises StoreError."""
        with self._lock:
            if self._session is None:
                self._session = Session(self._open())
            self._session.users += 1
            return self._session

    def give(self, session: Session) -> None:
        """It is not used any more by one of those who took it."""
        with self._lock:
            session.users -= 1
            last = session is not self._session and not session.users
        if last:
            session.store.close()

    def renew(self) -> None:
        """Have all that use it let go of it and take the next one, which is opened with what is on the disk then."""
        with self._lock:
            session, self._session = self._session, None
        if session:
            session.over.set()
            if not session.users:
                session.store.close()
