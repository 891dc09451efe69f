// Packs @runtime/core and @runtime/sdk as they are published: node --conditions=@runtime/source scripts/pack.ts FOLDER

import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { packInto } from '../sdk/src/scaffold/packs.ts';

const folder = resolve(process.argv[2] ?? 'packs');
await mkdir(folder, { recursive: true });
for (const tarball of Object.values(await packInto(folder))) console.log(tarball);
