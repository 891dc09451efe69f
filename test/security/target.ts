// What a hostile campaign is waged against.

import type { Random } from '@runtime/sdk/testing';

export interface Target extends AsyncDisposable {
  /**
   * From the set-up of rings, or a connection, to its end: as many cases as `most`, fewer when a ring is past use. The
   * same ones for the same random numbers. @returns how many @throws when the target did what it must not
   */
  live(random: Random, most: number): Promise<number>;
  /** Lives between two guests that keep to the rules; default 1. */
  readonly serveEvery?: number;
  /** A guest that keeps to the rules. @throws when it is not served */
  serve(): Promise<void>;
  /** Of everything else that must hold between two lives. @throws */
  check?(): void;
  /** Counters of the target: whether the cases got far enough to mean anything. */
  stats?(): Readonly<Record<string, number>>;
}

/** Thrown out of a life with what led there, so that it can be kept as a case of a corpus. */
export class Found extends Error {
  readonly acts: unknown;

  constructor(why: string, acts: unknown) {
    super(why);
    this.acts = acts;
  }
}

export const pick = <T>(random: Random, values: readonly T[]): T => values[random(values.length)] as T;

/** A turn of the event loop: descriptors that are ready are looked after, and what they cause is done. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
