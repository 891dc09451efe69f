// What `runtime doctor` says of jails.

import type { CheckRegistry, CheckResult } from '@runtime/sdk';
import { lacking } from './jail/tap.ts';
import { hostTools } from './launch/host-tools.ts';

export function addChecks(checks: CheckRegistry, enabled: boolean): void {
  checks.add('jails', async (): Promise<CheckResult> => {
    if (!enabled) {
      const remedy = 'settings.sandbox.config.enabled = true, and no RUNTIME_NO_SANDBOX in the environment.';
      return { status: 'warn', found: 'switched off: processes are not jailed', remedy };
    }
    const tools = await hostTools();
    const missing = lacking(tools);
    if (missing.length === 0) return { status: 'ok', found: `bubblewrap, seccomp, landlock ${tools.landlock}` };
    const found = missing.map(({ what }) => what).join('; ');
    return { status: 'warn', found, remedy: `${missing.map(({ hint }) => hint).join('; ')}.` };
  });
}
