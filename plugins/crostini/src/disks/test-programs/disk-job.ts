// Does one thing with a disk until it is killed. Arguments: folder, what, file.

import { diskRig } from '../test-rig.ts';

const [folder = '', what = '', file = ''] = process.argv.slice(2);
const { disks } = diskRig({}, folder);
const jobs = {
  export: () => disks.export({ vm: 'a', to: file, digest: `${file}.sha256` }),
  import: () => disks.import({ vm: 'b', from: file }),
  resize: () => disks.resize({ vm: 'c', bytes: 64 * 2 ** 20 }),
} as const;
const job = await jobs[what as keyof typeof jobs]();
console.log('begun');
await disks.wait(job.uuid);
console.log('done');
