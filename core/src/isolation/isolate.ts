// A plugin in a process of its own: for the kernel a plugin like any other, whose setup starts the process and whose every
// part speaks to it. The kernel knows nothing of this.

import type { Clock } from '../clock.ts';
import { ownModules } from '../loader/own-modules.ts';
import type { FoundPlugin } from '../loader/types.ts';
import { matchManifest } from '../loader/validate.ts';
import type { Logger } from '../logging.ts';
import { type AnyPlugin, definePlugin, type Schema, type StateSpec } from '../plugin.ts';
import { DEFAULT_TIMEOUTS, type IsolationLimits } from '../runtime-types.ts';
import { DESCRIPTION, type Description, providesOf, requiresOf } from './description.ts';
import { hostLimits } from './limits.ts';
import { parseAs, RECEIVED, type ReceivedState, VALIDATION } from './messages.ts';
import { PluginHost } from './plugin-host.ts';
import { Probe } from './probe.ts';

export interface IsolateOptions {
  readonly limits: IsolationLimits;
  readonly log: Logger;
  readonly clock: Clock;
}

/**
 * The definition of a plugin that runs in a process of its own.
 * @throws CORE_ERR_PLUGIN_LOAD, CORE_ERR_PLUGIN_INVALID, CORE_ERR_MANIFEST_DRIFT, CORE_ERR_HOST_GONE,
 *   CORE_ERR_HOST_UNRESPONSIVE
 */
export async function isolatePlugin(found: FoundPlugin, options: IsolateOptions): Promise<AnyPlugin> {
  const limits = hostLimits(options.limits);
  const own = ownModules();
  const probe = new Probe({ found, own, limits, log: options.log, clock: options.clock });
  const description = parseAs(DESCRIPTION, await probe.ask('describe'), 'the description of the plugin');
  const { name, version, core, timeouts } = description;
  const setupMs = timeouts?.setupMs ?? DEFAULT_TIMEOUTS.setupMs;
  const definition = definePlugin({
    name,
    ...(version === undefined ? {} : { version }),
    ...(core === undefined ? {} : { core }),
    requires: requiresOf(description),
    provides: providesOf(description),
    ...(description.config ? { config: remoteConfig(probe) } : {}),
    ...(description.state === undefined ? {} : { state: remoteState(probe, description.state) }),
    ...(timeouts === undefined ? {} : { timeouts }),
    async setup(ctx) {
      const host = new PluginHost({ ctx, found, description, limits, own, setupMs });
      ctx.scope.defer('plugin process', () => host.close());
      return host.start();
    },
  });
  return matchManifest(definition as AnyPlugin, found.manifest);
}

/**
 * Checks here and transforms there: the value goes to the process as it stands in the configuration, since what a schema
 * makes of it need not be plain.
 */
function remoteConfig(probe: Probe): Schema<unknown> {
  return {
    '~standard': {
      version: 1,
      vendor: 'runtime',
      async validate(value) {
        const { issues } = parseAs(VALIDATION, await probe.ask('checkConfig', value), 'the answer of its schema');
        return issues.length === 0 ? { value } : { issues };
      },
    },
  };
}

/** A state of another schema on its way from migrate(), which has to answer at once, to validate(), which need not. */
class Outdated {
  readonly state: unknown;
  readonly schema: number;

  constructor(state: unknown, schema: number) {
    this.state = state;
    this.schema = schema;
  }
}

function remoteState(probe: Probe, description: NonNullable<Description['state']>): StateSpec<unknown> {
  const { schema: current, migrates, validates } = description;
  const receive = async (value: unknown): Promise<ReceivedState> => {
    const [state, from] = value instanceof Outdated ? [value.state, value.schema] : [value, current];
    if (from === current && !validates) return { state, issues: [] };
    return parseAs(RECEIVED, await probe.ask('receiveState', state, from), 'the answer of its state');
  };
  return {
    schema: current,
    ...(migrates ? { migrate: (state: unknown, from: number) => new Outdated(state, from) } : {}),
    validate: {
      '~standard': {
        version: 1,
        vendor: 'runtime',
        async validate(value) {
          const { state, issues } = await receive(value);
          return issues.length === 0 ? { value: state } : { issues };
        },
      },
    },
  };
}
