// What a request has to have before anything is done with it, and how what went wrong is told: most answers have a field
// for it, and clients show what is there.

import { isRuntimeError } from '@runtime/sdk';

/** Bytes of UTF-8, as concierge has it. */
const NAME_MAX = 60;
/** Digits; ChromeOS' have 40. */
const OWNER_MAX = 128;

/** A reason that stands in the answer, in place of an error of the D-Bus. */
export class Refusal extends Error {}

/** The owner in lower case, as VMs and disks are kept by. @throws Refusal */
export function checkOwner(owner: string): string {
  if (!/^[0-9a-fA-F]+$/.test(owner) || owner.length > OWNER_MAX) throw new Refusal('Empty or malformed owner ID');
  return owner.toLowerCase();
}

/** @throws Refusal */
export function checkVmName(name: string): void {
  if (name === '') throw new Refusal('Empty VM name');
  if (Buffer.byteLength(name) > NAME_MAX) throw new Refusal('VM name is too long');
}

/** In words, for the field of an answer. */
export function reasonOf(e: unknown): string {
  if (e instanceof Refusal) return e.message;
  if (isRuntimeError(e)) return e.remedy === '' ? e.message : `${e.message}. ${e.remedy}`;
  return e instanceof Error ? e.message : String(e);
}

/** What `work` says, or what `refused` makes of the reason. */
export async function orRefused<T>(work: () => Promise<T>, refused: (reason: string, e: unknown) => T): Promise<T> {
  try {
    return await work();
  } catch (e) {
    return refused(reasonOf(e), e);
  }
}

/** Of a job that was only begun, its size and the like: whole numbers that JavaScript can hold. @throws Refusal */
export function safeNumber(value: bigint, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Refusal(`${what} is too large`);
  return Number(value);
}
