// Runs a script in a fresh VM: node src/index.ts script.sh [argument…]

import { connect } from '@runtime/sdk';
import type { ExecResult } from '@runtime/sdk/client';

/** A script that has not ended by then is interrupted, ms. */
const LIMIT_MS = 10_000;
const MAX_BYTES = 1024 * 1024;

export async function sandbox(script: string, args: readonly string[] = []): Promise<ExecResult> {
  await using runtime = await connect();
  await using vm = await runtime.vms.start({ profile: 'fast', memoryMib: 512 });
  await vm.copyIn(script, '/tmp/script');
  return await vm.exec(['sh', '/tmp/script', ...args], { signal: AbortSignal.timeout(LIMIT_MS), maxBytes: MAX_BYTES });
}

if (import.meta.main) {
  const [script, ...args] = process.argv.slice(2);
  if (script === undefined) {
    console.error('usage: node src/index.ts script.sh [argument…]');
    process.exit(2);
  }
  const { code, stdout, stderr } = await sandbox(script, args);
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  process.exitCode = code;
}
