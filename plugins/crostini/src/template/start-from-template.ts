// `runtime start --template`: a VM as a template has it, or none.

import type { CommandIo } from '@runtime/sdk';
import type { CommandParts } from '../cli/index.ts';
import { escapeText, type LogRecord } from '../concierge/log-records.ts';
import { vmKey } from '../concierge/names.ts';
import type { StartTermina, TerminaVm } from '../contract.ts';
import { parseSize } from '../disks/sizes.ts';
import { errors } from '../errors.ts';
import { expectFreePorts, parsePort } from './ports.ts';
import { expectDisk, provision, scriptName } from './provision.ts';
import { type Template, toMib } from './schema.ts';

/** What can be told before the guest runs. */
export function templateRequest(template: Template | undefined): Partial<StartTermina> {
  const { profile, resources: { cpus, mem, disk } = {}, params, ports = [] } = template ?? {};
  return {
    ...(profile === undefined ? {} : { profile }),
    ...(cpus === undefined ? {} : { cpus }),
    ...(mem === undefined ? {} : { memoryMib: toMib(mem) }),
    ...(disk === undefined ? {} : { diskBytes: parseSize(disk) }),
    ...(params === undefined ? {} : { kernelParams: params }),
    ...(ports.length === 0 ? {} : { ports: ports.flatMap((port) => parsePort(port) ?? []) }),
  };
}

/** @throws CROSTINI_ERR_TEMPLATE_ONCE */
export async function checkOnly(template: Template | undefined, request: StartTermina, io: CommandIo): Promise<void> {
  const { users = [], scripts = [] } = template ?? {};
  if (request.profile !== undefined) expectDisk(scripts, request.profile);
  await io.data({
    ...request,
    ...(users.length === 0 ? {} : { users: users.map(({ name }) => name) }),
    ...(scripts.length === 0 ? {} : { scripts: scripts.map(scriptName) }),
  });
}

/**
 * All or nothing: a VM whose template could not be followed is stopped again.
 * @throws CROSTINI_ERR_VM_STATE when it runs already, CROSTINI_ERR_TEMPLATE_…, CROSTINI_ERR_PORT_TAKEN
 */
export async function startFromTemplate(
  { manager, logs }: Pick<CommandParts, 'manager' | 'logs'>,
  template: Template,
  request: StartTermina,
  io: CommandIo,
  signal: AbortSignal,
): Promise<TerminaVm> {
  const { name } = request;
  const key = vmKey(name);
  if (request.profile !== undefined) expectDisk(template.scripts ?? [], request.profile);
  const there = (await manager.listVms({ owner: key.owner })).find((vm) => vm.name === name);
  if (there !== undefined) {
    const details = { vm: name, state: there.state, verb: 'started from a template' };
    throw errors.CROSTINI_ERR_VM_STATE({ details });
  }
  await expectFreePorts(name, request.ports ?? []);
  const progress = progressOf(io);
  const vm = await manager.start(request, { signal, onStage: progress.show });
  try {
    const { directory } = await manager.endpoint(name);
    await provision(template, {
      ...{ vm: name, profile: vm.profile, directory, signal, onStage: progress.show },
      onLine: (script, line) => {
        const text = `script ${script}: ${line}`;
        logs.note(key, [{ time: Date.now(), source: 'user', priority: 'info', text } satisfies LogRecord]);
        progress.show(escapeText(text));
      },
    });
  } catch (e) {
    await manager.stopVm(name);
    throw e;
  } finally {
    await progress.told();
  }
  return vm;
}

interface Progress {
  readonly show: (stage: string, fraction?: number) => void;
  /** Resolves when all is shown. */
  readonly told: () => Promise<void>;
}

/** A terminal that is slower than the guest misses some. */
function progressOf(io: CommandIo): Progress {
  let next: readonly [stage: string, fraction: number | undefined] | undefined;
  let telling: Promise<void> | undefined;
  const tell = async (): Promise<void> => {
    for (let now = next; now !== undefined; now = next) {
      next = undefined;
      const [stage, fraction] = now;
      await (fraction === undefined ? io.progress(stage) : io.progress(stage, fraction)).catch(() => {});
    }
    telling = undefined;
  };
  return {
    show: (stage, fraction) => {
      next = [stage, fraction];
      telling ??= tell();
    },
    told: async () => await telling,
  };
}
