// What a runtime learns of a plugin without running its code: said by a process that loaded it.

import { z } from 'zod';
import type { AnyPlugin, PhaseTimeouts } from '../plugin.ts';
import { type NormalRequirement, normalizeRequirement, type Requirement, type Requires } from '../requirements.ts';
import { defineService, type ServiceToken } from '../tokens.ts';

export interface TokenDescription {
  readonly id: string;
  readonly version: string;
  readonly rebind: 'live' | 'restart';
}

export interface Description {
  readonly name: string;
  readonly version?: string;
  readonly core?: string;
  readonly requires: Readonly<
    Record<string, TokenDescription & { readonly range: string; readonly optional: boolean }>
  >;
  readonly provides: readonly TokenDescription[];
  /** It has a schema for its configuration. */
  readonly config: boolean;
  readonly state?: { readonly schema: number; readonly migrates: boolean; readonly validates: boolean };
  readonly timeouts?: Partial<PhaseTimeouts>;
}

const text = z.string().max(1024);
const token = { id: text, version: text, rebind: z.enum(['live', 'restart']) };
const ms = z.number().min(0).exactOptional();

export const DESCRIPTION: z.ZodType<Description> = z.strictObject({
  name: text,
  version: text.exactOptional(),
  core: text.exactOptional(),
  requires: z.record(text, z.strictObject({ ...token, range: text, optional: z.boolean() })),
  provides: z.array(z.strictObject(token)).max(1000),
  config: z.boolean(),
  state: z.strictObject({ schema: z.int(), migrates: z.boolean(), validates: z.boolean() }).exactOptional(),
  timeouts: z.strictObject({ setupMs: ms, readyMs: ms, quiesceMs: ms, disposeMs: ms }).exactOptional(),
});

function describeToken({ id, version, rebind }: ServiceToken<object>): TokenDescription {
  return { id, version, rebind };
}

export function describePlugin(plugin: AnyPlugin): Description {
  const { name, version, core, state, timeouts } = plugin;
  const requires = Object.entries<Requirement>(plugin.requires ?? {}).map(([key, requirement]) => {
    const { token, range, optional } = normalizeRequirement(requirement);
    return [key, { ...describeToken(token), range, optional }] as const;
  });
  const states =
    state === undefined
      ? {}
      : {
          state: {
            schema: state.schema,
            migrates: state.migrate !== undefined,
            validates: state.validate !== undefined,
          },
        };
  return {
    name,
    ...(version === undefined ? {} : { version }),
    ...(core === undefined ? {} : { core }),
    requires: Object.fromEntries(requires),
    provides: (plugin.provides ?? []).map(describeToken),
    config: plugin.config !== undefined,
    ...states,
    ...(timeouts === undefined ? {} : { timeouts }),
  };
}

export function requiresOf(description: Description): Requires {
  const entries = Object.entries(description.requires).map(([key, { id, range, optional, ...token }]) => {
    const requirement: NormalRequirement = { token: defineService(id, token), range, optional };
    // What optional() and needs() return has this very form.
    return [key, requirement as Requirement] as const;
  });
  return Object.fromEntries(entries);
}

export function providesOf(description: Description): readonly ServiceToken<object>[] {
  return description.provides.map(({ id, ...token }) => defineService(id, token));
}
