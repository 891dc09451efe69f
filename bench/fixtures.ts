// Plugin packages for benchmarks, in a folder that is removed afterwards.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Folder {
  readonly path: string;
  readonly remove: () => void;
}

export function makeFolder(): Folder {
  const path = mkdtempSync(join(tmpdir(), 'runtime-bench-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export interface PluginFiles {
  readonly name: string;
  /** Service id → range. */
  readonly requires?: Readonly<Record<string, string>>;
  /** Service id → version. */
  readonly provides?: Readonly<Record<string, string>>;
  readonly code: string;
}

/** Writes the package and returns its folder. */
export function writePlugin(parent: string, { name, requires = {}, provides = {}, code }: PluginFiles): string {
  const folder = join(parent, name);
  mkdirSync(folder, { recursive: true });
  const runtime = { plugin: name, core: '^0.1.0', provides, requires };
  const manifest = { name: `bench-${name}`, version: '1.0.0', type: 'module', exports: './index.ts', runtime };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  writeFileSync(join(folder, 'index.ts'), code);
  return folder;
}

const WAVES = 5;
const PER_WAVE = 10;

/** Fifty plugins in five waves: each needs two services of the wave before. Returns their folders. */
export function writeFiftyPlugins(parent: string): readonly string[] {
  const folders: string[] = [];
  for (let wave = 0; wave < WAVES; wave++) {
    for (let i = 0; i < PER_WAVE; i++) {
      const needed = wave === 0 ? [] : [i, (i + 1) % PER_WAVE].map((n) => `part-${wave - 1}-${n}`);
      folders.push(writeOneOfFifty(parent, `part-${wave}-${i}`, needed));
    }
  }
  return folders;
}

function writeOneOfFifty(parent: string, name: string, needed: readonly string[]): string {
  const service = (id: string): string => `defineService<Part>('${id}', { version: '1.0.0' })`;
  const code = `import { definePlugin, defineHook, defineService } from '@runtime/sdk';

interface Part {
  depth(): Promise<number>;
}
const own = ${service(name)};
const assemble = defineHook<[parts: string[]]>()('bench/assemble', 'series', ['parts']);

export default definePlugin({
  name: '${name}',
  requires: { ${needed.map((id, i) => `below${i}: ${service(id)}`).join(', ')} },
  provides: [own],
  async setup(ctx) {
    const below = Object.values(ctx.services) as Part[];
    ctx.provide(own, {
      async depth() {
        const depths = await Promise.all(below.map((part) => part.depth()));
        return 1 + Math.max(0, ...depths);
      },
    });
    ctx.hooks.tap(assemble, async (parts) => void parts.push(ctx.name));
    ctx.events.on('core:plugin-state', () => {});
    await Promise.all(below.map((part) => part.depth()));
  },
});
`;
  const requires = Object.fromEntries(needed.map((id) => [id, '^1.0.0']));
  return writePlugin(parent, { name, requires, provides: { [name]: '1.0.0' }, code });
}
