// minijail0's command line, as it is: what `plugins/sandbox/bin/minijail0.mjs` runs.

import { existsSync, writeFileSync } from 'node:fs';
import { planFromMinijail } from './jail/from-minijail.ts';
import { EXIT, startPlan } from './launch/run-plan.ts';

try {
  const { plan, program, genConfig, help } = planFromMinijail(process.argv.slice(2), process.cwd());
  if (help || (program.length === 0 && genConfig === undefined)) {
    process.stderr.write('minijail0 [flags] -- PROGRAM [arguments]; the flags are in docs/guides/sandbox-jails.md\n');
    process.exitCode = help ? 0 : EXIT.usage;
  } else if (genConfig !== undefined) {
    if (existsSync(genConfig.file)) throw new Error(`${genConfig.file} exists already`);
    writeFileSync(genConfig.file, genConfig.text, { flag: 'wx' });
  } else {
    const running = startPlan(plan, program, process.cwd(), 'inherit');
    process.exitCode = typeof running === 'number' ? running : await running.exit;
  }
} catch (e) {
  process.stderr.write(`minijail0: ${(e as Error).message}\n`);
  process.exitCode = EXIT.usage;
}
