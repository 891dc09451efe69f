// What kinds of input devices there are, as the guest sees them.

import { ABS, BTN, EV, FIRST_KEY, LAST_KEY, LED, PROP_DIRECT, REL } from './codes.ts';

export interface Axis {
  readonly min: number;
  readonly max: number;
}

export interface Profile {
  readonly name: string;
  readonly product: number;
  readonly properties: readonly number[];
  /** Codes by type of event. */
  readonly codes: ReadonlyMap<number, readonly number[]>;
  readonly axes: ReadonlyMap<number, Axis>;
}

/** Positions are parts of the screen, whatever its size. */
const POSITION: Axis = { min: 0, max: 32_767 };
const MAX_SLOT = 9;

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const BUTTONS = [BTN.left, BTN.right, BTN.middle, BTN.side, BTN.extra];

export const INPUT_KINDS = ['keyboard', 'mouse', 'tablet', 'touchscreen'] as const;
export type InputKind = (typeof INPUT_KINDS)[number];

export const PROFILES: Readonly<Record<InputKind, Profile>> = {
  keyboard: {
    name: 'Runtime keyboard',
    product: 1,
    properties: [],
    codes: new Map<number, readonly number[]>([
      [EV.key, numbers(FIRST_KEY, LAST_KEY)],
      // The guest repeats keys that are held.
      [EV.rep, [0, 1]],
      [EV.led, [LED.num, LED.caps, LED.scroll]],
    ]),
    axes: new Map(),
  },
  mouse: {
    name: 'Runtime mouse',
    product: 2,
    properties: [],
    codes: new Map<number, readonly number[]>([
      [EV.key, BUTTONS],
      [EV.rel, [REL.x, REL.y, REL.wheel, REL.hwheel]],
    ]),
    axes: new Map(),
  },
  tablet: {
    name: 'Runtime tablet',
    product: 3,
    properties: [],
    codes: new Map<number, readonly number[]>([
      [EV.key, BUTTONS],
      [EV.rel, [REL.wheel, REL.hwheel]],
      [EV.abs, [ABS.x, ABS.y]],
    ]),
    axes: new Map<number, Axis>([
      [ABS.x, POSITION],
      [ABS.y, POSITION],
    ]),
  },
  touchscreen: {
    name: 'Runtime touchscreen',
    product: 4,
    properties: [PROP_DIRECT],
    codes: new Map<number, readonly number[]>([
      [EV.key, [BTN.touch]],
      [EV.abs, [ABS.x, ABS.y, ABS.slot, ABS.positionX, ABS.positionY, ABS.trackingId]],
    ]),
    axes: new Map<number, Axis>([
      [ABS.x, POSITION],
      [ABS.y, POSITION],
      [ABS.slot, { min: 0, max: MAX_SLOT }],
      [ABS.positionX, POSITION],
      [ABS.positionY, POSITION],
      // −1 ends a contact and is always allowed.
      [ABS.trackingId, { min: 0, max: 65_535 }],
    ]),
  },
};

/** Why the device cannot say so; `undefined` when it can. */
export function problemOf({ codes, axes }: Profile, type: number, code: number, value: number): string | undefined {
  if (!Number.isInteger(value) || value < -(2 ** 31) || value >= 2 ** 31)
    return `${value} is no whole number of 32 bits`;
  if (type === EV.rep || type === EV.led || codes.get(type)?.includes(code) !== true)
    return `it has no event of type ${type}, code ${code}`;
  // 2: the key is held and repeats.
  if (type === EV.key && (value < 0 || value > 2)) return `a key cannot be ${value}: 0 is up, 1 down`;
  const axis = axes.get(code);
  if (type !== EV.abs || axis === undefined) return undefined;
  if (code === ABS.trackingId && value === -1) return undefined;
  return value < axis.min || value > axis.max ? `axis ${code} has no ${value}` : undefined;
}
