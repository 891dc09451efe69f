// What the control socket needs of the program around the runtime.

import type { FoundPlugin } from '../loader/types.ts';
import type { PluginSettings } from '../runtime-types.ts';
import type { TraceRecorder } from '../trace-recorder.ts';

export interface ControlHost {
  /** `undefined`: nothing is recorded, so that `trace.why` has no answer. */
  readonly recorder: TraceRecorder | undefined;
  /** A plugin by name, path or package. @throws CORE_ERR_PLUGIN_NOT_FOUND, CORE_ERR_MANIFEST */
  find(spec: string): Promise<FoundPlugin>;
  /** Settings of the plugin from the configuration. */
  settings(name: string): PluginSettings;
  /** Returns at once; the runtime stops afterwards. */
  requestStop(reason: string): void;
}
