// Locks itself down as its environment says, tries everything, and prints what came of it: a line of JSON.

import { beginLockdown, errnoName, finishLockdown } from '@runtime/sdk/linux';
import { architectureCalled, tablesOf } from '../policy/tables.ts';
import { ATTEMPTS, Kit, type Targets } from './attempts.ts';

beginLockdown();
// All that is needed is loaded before the filter is there, as in a device process.
const targets = JSON.parse(process.argv[2] ?? '{}') as Targets;
const kit = new Kit(targets, tablesOf(architectureCalled(process.arch)).syscalls);
kit.call('getpid');
errnoName(1);
finishLockdown();
const results = ATTEMPTS.map(({ run }) => {
  const answer = run(kit);
  return answer >= 0 ? '' : errnoName(-answer);
});
process.stdout.write(`${JSON.stringify(results)}\n`);
