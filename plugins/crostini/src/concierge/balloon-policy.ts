// How much memory each VM is to have: a function of how short the host is, and of what each guest says that it has. It takes
// from guests while the host is short, gives back when the host has had room for a while, and at once to a guest that is
// short itself.

import type { HostMemory } from './pressure.ts';

export interface GuestMemory {
  readonly key: string;
  /** What it was started with, MiB. */
  readonly maxMib: number;
  readonly actualMib: number;
  /** What its programs could still get; `undefined`: it has not told of late, and nothing is taken from it. */
  readonly availableMib: number | undefined;
}

export type BalloonReason = 'host-short' | 'host-has-room' | 'guest-short';

export interface BalloonChange {
  readonly key: string;
  readonly targetMib: number;
  readonly why: BalloonReason;
}

interface GuestMemo {
  readonly targetMib: number;
  /** Until then it is not brought below this: it was short there. */
  readonly floorMib: number;
  readonly floorUntil: number;
}

/** What has to be known of the time before. */
export interface BalloonMemo {
  readonly guests: ReadonlyMap<string, GuestMemo>;
  /** Since when the host has had room without a break. */
  readonly roomSince: number | undefined;
  /** How long it must have had room before something is given back. */
  readonly patienceMs: number;
  /** Something was given back since the host was short. */
  readonly gaveBack: boolean;
}

const FIRST_PATIENCE_MS = 10_000;
const MAX_PATIENCE_MS = 600_000;
/** How long a guest keeps what it needed. */
const FLOOR_MS = 60_000;
/** In one second, from or to all of them, MiB. */
const STEP = { min: 64, max: 256 } as const;
/** Smaller changes of one guest wait until they amount to something, MiB. */
const WORTH_MIB = 16;

export const NO_MEMO: BalloonMemo = {
  guests: new Map(),
  roomSince: undefined,
  patienceMs: FIRST_PATIENCE_MS,
  gaveBack: false,
};

export type HostLevel = 'short' | 'between' | 'room';

/** Between being short and having room lies as much as the first of them, so that no step gets from one to the other. */
export function levelOf({ totalMib, availableMib, some10, full10 }: HostMemory): HostLevel {
  const low = lowMark(totalMib);
  if (availableMib < low || some10 >= 10 || full10 >= 3) return 'short';
  if (availableMib >= 2 * low && some10 < 1 && full10 < 0.5) return 'room';
  return 'between';
}

const lowMark = (totalMib: number): number => Math.max(256, Math.floor(totalMib / 10));

/** What a guest must keep free, lest it swaps or kills. */
const reserveOf = (maxMib: number): number => Math.max(64, Math.floor(maxMib / 8));

export interface BalloonInput {
  readonly host: HostMemory;
  readonly guests: readonly GuestMemory[];
  /** No guest is brought below this, MiB. */
  readonly minMib: number;
  /** Milliseconds of a clock that only goes forward; about a second after the call before. */
  readonly now: number;
}

export function planBalloons(
  memo: BalloonMemo,
  input: BalloonInput,
): { readonly memo: BalloonMemo; readonly changes: readonly BalloonChange[] } {
  const { host, guests, now } = input;
  const level = levelOf(host);
  const before = new Map(guests.map((guest) => [guest.key, memo.guests.get(guest.key) ?? firstMemo(guest)] as const));
  const state = remember(memo, level, now);
  const mayGive = state.roomSince !== undefined && now - state.roomSince >= state.patienceMs;
  const changes = new Map<string, BalloonChange>();
  // Those that are not looked at now are remembered.
  const after = new Map([...memo.guests, ...before]);
  const set = (guest: GuestMemory, targetMib: number, why: BalloonReason): void => {
    const { targetMib: from } = memoOf(before, guest);
    if (targetMib === from) return;
    const isEnd = targetMib === guest.maxMib || why === 'guest-short';
    if (!isEnd && Math.abs(targetMib - from) < WORTH_MIB) return;
    changes.set(guest.key, { key: guest.key, targetMib, why });
    after.set(guest.key, { ...memoOf(after, guest), targetMib });
  };
  for (const guest of guests) {
    const { targetMib, floorMib, floorUntil } = memoOf(before, guest);
    if (!isShort(guest, targetMib)) continue;
    const wanted = Math.min(guest.maxMib, Math.max(guest.actualMib, targetMib) + 2 * reserveOf(guest.maxMib));
    const held = now < floorUntil ? Math.max(floorMib, wanted) : wanted;
    after.set(guest.key, { targetMib, floorMib: held, floorUntil: now + FLOOR_MS });
    set(guest, wanted, 'guest-short');
  }
  const calm = guests.filter((guest) => !changes.has(guest.key));
  if (level === 'short') {
    const spare = calm.map((guest) => ({ guest, mib: spareOf(guest, memoOf(before, guest), input) }));
    for (const [guest, share] of shares(spare, stepOf(2 * lowMark(host.totalMib) - host.availableMib))) {
      set(guest, memoOf(before, guest).targetMib - share, 'host-short');
    }
  } else if (mayGive) {
    const lacking = calm.map((guest) => ({ guest, mib: guest.maxMib - memoOf(before, guest).targetMib }));
    // What they take must leave the host with room.
    const room = Math.floor((host.availableMib - 2 * lowMark(host.totalMib)) / 2);
    for (const [guest, share] of shares(lacking, Math.min(STEP.min, room))) {
      set(guest, memoOf(before, guest).targetMib + share, 'host-has-room');
    }
  }
  const list = [...changes.values()];
  const gaveBack = state.gaveBack || list.some(({ why }) => why === 'host-has-room');
  return { memo: { ...state, gaveBack, guests: after }, changes: list };
}

/** Whether the guest has to be looked at: something was taken from it, or may have to be. */
export function isWatched(
  memo: BalloonMemo,
  level: HostLevel,
  { key, maxMib }: Pick<GuestMemory, 'key' | 'maxMib'>,
): boolean {
  return level === 'short' || (memo.guests.get(key)?.targetMib ?? 0) < maxMib;
}

function remember(memo: BalloonMemo, level: HostLevel, now: number): BalloonMemo {
  const { roomSince, patienceMs, gaveBack } = memo;
  if (level === 'between') return { ...memo, roomSince: undefined };
  if (level === 'room') {
    const since = roomSince ?? now;
    // It has had room for long: what was learned is of the past.
    const calmed = now - since > 10 * patienceMs;
    return calmed
      ? { ...memo, roomSince: since, patienceMs: FIRST_PATIENCE_MS, gaveBack: false }
      : { ...memo, roomSince: since };
  }
  // What was given back was too much: the next time it takes twice as long.
  const patience = gaveBack ? Math.min(2 * patienceMs, MAX_PATIENCE_MS) : patienceMs;
  return { ...memo, roomSince: undefined, patienceMs: patience, gaveBack: false };
}

const firstMemo = ({ actualMib, maxMib }: GuestMemory): GuestMemo => ({
  targetMib: Math.min(actualMib, maxMib),
  floorMib: 0,
  floorUntil: 0,
});

function memoOf(memos: ReadonlyMap<string, GuestMemo>, guest: GuestMemory): GuestMemo {
  return memos.get(guest.key) ?? firstMemo(guest);
}

/** What it is being given counts when it has it. */
function isShort({ availableMib, actualMib, maxMib }: GuestMemory, targetMib: number): boolean {
  if (availableMib === undefined || targetMib >= maxMib || actualMib < targetMib - WORTH_MIB) return false;
  return availableMib < reserveOf(maxMib) / 2;
}

/** What can be taken from it. */
function spareOf(guest: GuestMemory, memo: GuestMemo, { minMib, now }: BalloonInput): number {
  const { maxMib, actualMib, availableMib } = guest;
  if (availableMib === undefined) return 0;
  const needed = actualMib - availableMib + reserveOf(maxMib);
  const floor = Math.max(minMib, needed, now < memo.floorUntil ? memo.floorMib : 0);
  return Math.max(0, Math.floor(memo.targetMib - floor));
}

function stepOf(lackingMib: number): number {
  return Math.min(STEP.max, Math.max(STEP.min, Math.floor(lackingMib / 8)));
}

/** Shares out as much as there is, in proportion to what each has; a little more, so that each share is worth it. */
function shares(
  parts: readonly { readonly guest: GuestMemory; readonly mib: number }[],
  amount: number,
): readonly (readonly [GuestMemory, number])[] {
  const all = parts.reduce((sum, { mib }) => sum + mib, 0);
  const wanted = Math.min(all, amount);
  if (wanted <= 0) return [];
  return parts.map(
    ({ guest, mib }) => [guest, Math.min(mib, Math.max(WORTH_MIB, Math.ceil((wanted * mib) / all)))] as const,
  );
}
