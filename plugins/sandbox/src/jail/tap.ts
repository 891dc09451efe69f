// Puts processes of the project into their jails, before they are started.

import { realpathSync } from 'node:fs';
import type { Logger, SpawnPlan } from '@runtime/sdk';
import { LOCKDOWN_VARIABLE, type Lockdown } from '@runtime/sdk/linux';
import { errors } from '../errors.ts';
import { bubblewrap } from '../launch/bubblewrap.ts';
import { type HostTools, hostTools } from '../launch/host-tools.ts';
import { deviceFilter } from './device-filter.ts';
import { codeFolders, type DeviceJail, deviceJailSchema, devicePlan, landlockRules } from './device-jail.ts';
import type { JailPlan } from './plan.ts';

export interface JailerOptions {
  readonly log: Logger;
  /** `required`: what cannot be guaranteed keeps a process from starting. */
  readonly strength: 'required' | 'best-effort';
  readonly tools?: () => Promise<HostTools>;
}

export class Jailer {
  readonly #options: JailerOptions;
  readonly #warned: Set<string> = new Set();

  constructor(options: JailerOptions) {
    this.#options = options;
  }

  /** @throws SANDBOX_ERR_GUARANTEE, SANDBOX_ERR_JAIL, SANDBOX_ERR_POLICY */
  async jail(plan: SpawnPlan): Promise<SpawnPlan> {
    if (plan.jail === undefined) return plan;
    const asked = deviceJailSchema.safeParse(plan.jail);
    // That of somebody else.
    if (!asked.success) return plan;
    const tools = await (this.#options.tools ?? hostTools)();
    for (const { what, hint } of lacking(tools)) this.#missing(plan, what, hint);
    return jailDevice(plan, asked.data, tools);
  }

  #missing(plan: SpawnPlan, why: string, hint: string): void {
    const { log, strength } = this.#options;
    if (strength === 'required') {
      throw errors.SANDBOX_ERR_GUARANTEE({ details: { process: `${plan.plugin}/${plan.key}`, why, hint } });
    }
    if (this.#warned.has(why)) return;
    this.#warned.add(why);
    log.warn({ plugin: plan.plugin, key: plan.key }, `jails are weaker than they should be: ${why} (${hint})`);
  }
}

/** What cannot be guaranteed on this machine, and what to do. */
export function lacking({
  bubblewrap: bwrap,
  bubblewrapWhy,
  setpriv,
  landlock,
}: HostTools): { what: string; hint: string }[] {
  return [
    ...(bwrap === undefined
      ? [{ what: `no namespaces and no mounts of their own: ${bubblewrapWhy}`, hint: bubblewrapHint(bubblewrapWhy) }]
      : []),
    ...(setpriv === undefined ? [{ what: 'no setpriv', hint: 'apt-get install util-linux' }] : []),
    ...(landlock === 0 ? [{ what: 'the kernel has no landlock', hint: 'Linux 5.13 with landlock in lsm=' }] : []),
  ];
}

function bubblewrapHint(why: string): string {
  return why.startsWith('there is no') ? 'apt-get install bubblewrap' : 'allow user namespaces to this user';
}

function jailDevice(plan: SpawnPlan, jail: DeviceJail, tools: HostTools): SpawnPlan {
  const folders = codeFolders(jail, plan);
  const lockdown: Lockdown = {
    landlock: { rules: landlockRules(folders, realpathSync(process.execPath)), required: false },
    filter: Buffer.from(deviceFilter(jail.plan)).toString('base64'),
  };
  const env = { ...plan.env, [LOCKDOWN_VARIABLE]: JSON.stringify(lockdown) };
  const { jail: _carriedOut, ...rest } = plan;
  if (tools.bubblewrap === undefined || tools.setpriv === undefined) return { ...rest, env };
  const strict = devicePlan(jail, plan);
  return {
    ...rest,
    // It ends with bubblewrap, which waits for it outside: a signal to the one is one to the other.
    argv: [...command(strict, tools.bubblewrap), tools.setpriv, '--pdeathsig', 'KILL', '--', ...plan.argv],
    env,
    cwd: '/',
    rlimits: [...plan.rlimits, ...limitsOf(strict)],
  };
}

function command(plan: JailPlan, program: string): [string, ...string[]] {
  const [file = program, ...args] = bubblewrap(plan, { program });
  return [file, ...args];
}

function limitsOf({ rlimits }: JailPlan): SpawnPlan['rlimits'] {
  const value = (limit: number | 'unlimited') => (limit === 'unlimited' ? limit : BigInt(limit));
  return rlimits.map(({ resource, soft, hard }) => ({ resource, soft: value(soft), hard: value(hard) }));
}
