// The time zone of containers: through their own timedated where they have one.

import type { LxdClient } from '../lxd/client.ts';

export interface TimezoneRequest {
  /** As below /usr/share/zoneinfo. */
  readonly timezone_name: string;
  /** As of TZ, for containers without such files. */
  readonly posix_tz_string: string;
  /** All that run when it is empty. */
  readonly container_names: readonly string[];
}

export interface TimezoneResult {
  readonly successes: number;
  readonly failure_reasons: readonly string[];
}

const ZONE = /^[A-Za-z0-9_+-]{1,64}(\/[A-Za-z0-9_+-]{1,64}){0,3}$/;
const REASON_MAX = 500;
const POSIX = /^[A-Za-z0-9<>:,./+-]{1,128}$/;

/** @throws LxdError when LXD does not answer at all */
export async function setTimezones(client: LxdClient, request: TimezoneRequest): Promise<TimezoneResult> {
  const { timezone_name: zone, posix_tz_string: posix, container_names } = request;
  const names =
    container_names.length > 0
      ? [...new Set(container_names)]
      : (await client.instances()).filter(({ status }) => status === 'Running').map(({ name }) => name);
  const outcomes = await Promise.all(names.map((name) => setTimezone(client, name, zone, posix)));
  const failure_reasons = outcomes.filter((reason) => reason !== undefined);
  return { successes: outcomes.length - failure_reasons.length, failure_reasons };
}

/** @returns why it could not; undefined when it could */
async function setTimezone(client: LxdClient, name: string, zone: string, posix: string): Promise<string | undefined> {
  const why = ZONE.test(zone)
    ? await tellTimedated(client, name, zone)
    : `${JSON.stringify(zone.slice(0, 100))} is no time zone`;
  if (why === undefined) return undefined;
  if (!POSIX.test(posix)) return `${name}: ${why}`;
  try {
    await client.update(name, { config: { 'environment.TZ': posix } });
    return undefined;
  } catch (e) {
    return `${name}: ${(e as Error).message}`;
  }
}

async function tellTimedated(client: LxdClient, name: string, zone: string): Promise<string | undefined> {
  try {
    const { code, stderr } = await client.exec(name, ['timedatectl', 'set-timezone', zone]);
    return code === 0 ? undefined : stderr.trim().slice(0, REASON_MAX) || `timedatectl ended with ${code}`;
  } catch (e) {
    return (e as Error).message;
  }
}
