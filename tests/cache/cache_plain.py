"""The classical policies in their plainest form, for pages of size 1: lists, searched from end to end. What the real ones are compared with."""

from __future__ import annotations

from collections.abc import Sequence

Victims = list[int | None]


def lru(requests: Sequence[int], k: int) -> Victims:
    pages: list[int] = []
    out: Victims = []
    for key in requests:
        victim = None
        if key in pages:
            pages.remove(key)
        elif len(pages) == k:
            victim = pages.pop(0)
        pages.append(key)
        out.append(victim)
    return out


def lfu(requests: Sequence[int], k: int) -> Victims:
    pages: dict[int, tuple[int, int]] = {}  # (count, time of the last request)
    out: Victims = []
    for time, key in enumerate(requests):
        victim = None
        if key not in pages and len(pages) == k:
            victim = min(pages, key=lambda page: pages[page])
            del pages[victim]
        pages[key] = (pages.get(key, (0, 0))[0] + 1, time)
        out.append(victim)
    return out


def lrfu(requests: Sequence[int], k: int, half_life: float = 2.0) -> Victims:
    """Counts of all pages are kept: for sequences so short that none is forgotten."""
    counts: dict[int, float] = {}
    pages: list[int] = []
    out: Victims = []
    for key in requests:
        counts = {page: count * 2 ** (-1 / (half_life * k)) for page, count in counts.items()}
        victim = None
        if key not in pages:
            if len(pages) == k:
                victim = min(pages, key=lambda page: counts[page])
                pages.remove(victim)
            pages.append(key)
        counts[key] = counts.get(key, 0.0) + 1
        out.append(victim)
    return out


def arc(requests: Sequence[int], k: int) -> Victims:
    """As in figure 4 of the paper."""
    t1: list[int] = []
    t2: list[int] = []
    b1: list[int] = []
    b2: list[int] = []
    p = 0.0
    out: Victims = []

    def replace(key: int) -> int:
        if t1 and (len(t1) > p or (key in b2 and len(t1) == int(p))):
            b1.append(t1.pop(0))
            return b1[-1]
        b2.append(t2.pop(0))
        return b2[-1]

    for key in requests:
        victim = None
        if key in t1 or key in t2:
            (t1 if key in t1 else t2).remove(key)
            t2.append(key)
        elif key in b1:
            p = min(float(k), p + max(1.0, len(b2) / len(b1)))
            victim = replace(key)
            b1.remove(key)
            t2.append(key)
        elif key in b2:
            p = max(0.0, p - max(1.0, len(b1) / len(b2)))
            victim = replace(key)
            b2.remove(key)
            t2.append(key)
        else:
            if len(t1) + len(b1) == k:
                if len(t1) < k:
                    b1.pop(0)
                    victim = replace(key)
                else:
                    victim = t1.pop(0)
            elif len(t1) + len(t2) + len(b1) + len(b2) >= k:
                if len(t1) + len(t2) + len(b1) + len(b2) == 2 * k:
                    b2.pop(0)
                victim = replace(key)
            t1.append(key)
        out.append(victim)
    return out


def s3fifo(requests: Sequence[int], k: int) -> Victims:
    """As in algorithm 1 of the paper."""
    small: list[int] = []
    main: list[int] = []
    ghosts: list[int] = []
    count: dict[int, int] = {}
    out: Victims = []
    for key in requests:
        victim = None
        if key in count:
            count[key] = min(count[key] + 1, 3)
            out.append(None)
            continue
        while len(small) + len(main) == k:
            if len(small) >= max(1, int(0.1 * k)) or not main:
                page = small.pop(0)
                if count[page] > 1:
                    main.append(page)
                    count[page] = 0
                else:
                    ghosts.append(page)
                    del ghosts[: max(0, len(ghosts) - max(1, int(0.9 * k)))]
                    victim = page
            else:
                page = main.pop(0)
                if count[page] > 0:
                    main.append(page)
                    count[page] -= 1
                else:
                    victim = page
        if victim is not None:
            del count[victim]
        if key in ghosts:
            ghosts.remove(key)
            main.append(key)
        else:
            small.append(key)
        count[key] = 0
        out.append(victim)
    return out


def sieve(requests: Sequence[int], k: int) -> Victims:
    """As in algorithm 1 of the paper; the newest page is last."""
    pages: list[int] = []
    visited: dict[int, bool] = {}
    hand: int | None = None
    out: Victims = []
    for key in requests:
        victim = None
        if key in visited:
            visited[key] = True
        else:
            if len(pages) == k:
                place = pages.index(hand) if hand is not None else 0
                while visited[pages[place]]:
                    visited[pages[place]] = False
                    place = (place + 1) % k
                victim = pages.pop(place)
                hand = pages[place] if place < len(pages) else None
                del visited[victim]
            pages.append(key)
            visited[key] = False
        out.append(victim)
    return out


def fewest_misses(requests: Sequence[int], k: int) -> int:
    """The least over all ways to evict, tried all: for short sequences."""
    states = {frozenset[int](): 0}
    for key in requests:
        following: dict[frozenset[int], int] = {}
        for pages, misses in states.items():
            if key in pages:
                options, cost = [pages], misses
            else:
                cost = misses + 1
                options = [pages | {key}] if len(pages) < k else [(pages - {page}) | {key} for page in pages]
            for option in options:
                following[option] = min(cost, following.get(option, cost))
        states = following
    return min(states.values())
