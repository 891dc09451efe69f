// What a plugin requires of others, as a typed record.

import type { ServiceToken } from './tokens.ts';

export interface Optional<T extends object> {
  readonly optional: true;
  readonly token: ServiceToken<T>;
  readonly range: string;
}
export interface Ranged<T extends object> {
  readonly optional: false;
  readonly token: ServiceToken<T>;
  readonly range: string;
}
/** A bare token means "the major version of the contract it was written against". */
export type Requirement = ServiceToken<object> | Optional<object> | Ranged<object>;
export type Requires = Readonly<Record<string, Requirement>>;

export type Resolved<R extends Requires> = {
  readonly [K in keyof R]: R[K] extends Optional<infer T>
    ? T | undefined
    : R[K] extends Ranged<infer T>
      ? T
      : R[K] extends ServiceToken<infer T>
        ? T
        : never;
};

/** Present when some loaded plugin provides it; `undefined` otherwise. */
export function optional<T extends object>(token: ServiceToken<T>, range: string = compatible(token)): Optional<T> {
  return { optional: true, token, range };
}

/** Required, in this range of contract versions. */
export function needs<T extends object>(token: ServiceToken<T>, range: string): Ranged<T> {
  return { optional: false, token, range };
}

export interface NormalRequirement {
  readonly token: ServiceToken<object>;
  readonly range: string;
  readonly optional: boolean;
}

export function normalizeRequirement(requirement: Requirement): NormalRequirement {
  return 'kind' in requirement
    ? { token: requirement, range: compatible(requirement), optional: false }
    : { token: requirement.token, range: requirement.range, optional: requirement.optional };
}

function compatible(token: ServiceToken<object>): string {
  return `^${token.version}`;
}
