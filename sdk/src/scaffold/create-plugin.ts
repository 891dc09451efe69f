// `runtime plugin new`: writes a plugin package that works as it is, to be changed into what its author has in mind.

import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cacheFolder } from '../cli/xdg.ts';
import { errors } from '../errors.ts';
import { camelCase, type PluginNames, parseNames, pascalCase } from './names.ts';
import { npm, userPath } from './npm.ts';
import { cachedPacks, type Packs } from './packs.ts';

export interface CreatePluginOptions {
  /** What a relative folder is relative to; default: the working directory. */
  readonly cwd?: string;
  /** `device`: a virtio device of its own, and a plugin that offers it. Default `plugin`. */
  readonly template?: keyof typeof TEMPLATES;
  /** Runs `npm install`; default true. */
  readonly install?: boolean;
  /** Tarballs of core and sdk; default: of those that run here. */
  readonly packs?: Packs;
  /** Told what is being done, as stages of work over a second. */
  readonly onProgress?: (stage: string) => void;
}

export interface CreatedPlugin extends PluginNames {
  /** Relative to the folder. */
  readonly files: readonly string[];
  readonly installed: boolean;
  /** Commands to go on with. */
  readonly next: readonly string[];
}

/** Working plugins themselves: type-checked and tested with the rest of the sdk. Published as they are. */
const TEMPLATES = {
  plugin: fileURLToPath(new URL('../../src/scaffold/template/', import.meta.url)),
  device: fileURLToPath(new URL('../../src/scaffold/template-device/', import.meta.url)),
} as const;
/** What runs it, the first time. */
const NEXT = { plugin: 'npm run dev', device: 'npm run vm' } as const;
/** npm leaves files of this name out of packages. */
const RENAMED: Readonly<Record<string, string>> = { gitignore: '.gitignore' };
/** Of the npm package `node`, for machines whose own is older. */
const NODE = { minimum: [24, 12], package: '^24.21.0' } as const;

/**
 * @param target a folder that does not exist or is empty, whose last part is the name; or `@scope/name`
 * @throws SDK_ERR_PLUGIN_NAME, SDK_ERR_FOLDER_NOT_EMPTY, SDK_ERR_PACK, SDK_ERR_NPM (the files are then there)
 */
export async function createPlugin(target: string, options: CreatePluginOptions = {}): Promise<CreatedPlugin> {
  const { cwd = process.cwd(), install = true, template = 'plugin', onProgress = () => {} } = options;
  const names = parseNames(target, cwd);
  await checkEmpty(names.folder);
  const cache = join(cacheFolder(process.env), 'packs');
  const packs = options.packs ?? (await cachedPacks(cache, () => onProgress('packing what runs here')));
  const files = await writeTemplate(TEMPLATES[template], names, packs);
  if (install) {
    onProgress('installing packages (npm install)');
    await npm(['install', '--no-audit', '--no-fund', '--loglevel=error'], names.folder);
  }
  const next = [`cd ${names.folder}`, ...(install ? [] : ['npm install']), 'npm test', NEXT[template]];
  return { ...names, files, installed: install, next };
}

async function checkEmpty(folder: string): Promise<void> {
  const why = await readdir(folder).then(
    (entries) => (entries.length === 0 ? undefined : 'is not empty'),
    (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? undefined : `cannot be used (${error.code})`),
  );
  if (why !== undefined) throw errors.SDK_ERR_FOLDER_NOT_EMPTY({ details: { folder, why } });
}

async function writeTemplate(template: string, names: PluginNames, packs: Packs): Promise<readonly string[]> {
  const entries = await readdir(template, { recursive: true, withFileTypes: true });
  const sources = entries.filter((e) => e.isFile()).map((e) => join(e.parentPath, e.name).slice(template.length));
  const written: string[] = [];
  for (const source of sources.sort()) {
    const file = RENAMED[source] ?? source;
    const text = fillIn(await readFile(join(template, source), 'utf8'), names);
    const target = join(names.folder, file);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, file === 'package.json' ? await completeManifest(text, packs) : text, { flag: 'wx' });
    written.push(file);
  }
  return written;
}

/** The template is a plugin called `example-plugin`; its names are the placeholders. */
function fillIn(text: string, names: PluginNames): string {
  return text
    .replaceAll('example-plugin-package', names.package)
    .replaceAll('example-plugin', names.plugin)
    .replaceAll('examplePlugin', camelCase(names.plugin))
    .replaceAll('ExamplePlugin', pascalCase(names.plugin));
}

interface Manifest {
  readonly scripts: Readonly<Record<string, string>>;
  devDependencies: Record<string, string>;
  allowScripts?: Record<string, boolean>;
}

async function completeManifest(text: string, packs: Packs): Promise<string> {
  const manifest = JSON.parse(text) as Manifest;
  // A plugin for VMs is run with the plugin that has them.
  const needsVmm = /\bvmm\b/.test(manifest.scripts.start ?? '');
  const own = {
    '@runtime/core': `file:${packs.core}`,
    '@runtime/sdk': `file:${packs.sdk}`,
    ...(needsVmm && packs.vmm !== undefined ? { '@runtime/plugin-vmm': `file:${packs.vmm}` } : {}),
  };
  const needsNode = !(await hasNode());
  manifest.devDependencies = sorted({
    ...manifest.devDependencies,
    ...own,
    ...(needsNode ? { node: NODE.package } : {}),
  });
  // It fetches its binary in an install script, which npm runs only where it is allowed.
  if (needsNode) manifest.allowScripts = { node: true };
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

function sorted(record: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Is the Node that npm scripts would find new enough? */
async function hasNode(): Promise<boolean> {
  try {
    const { stdout } = await promisify(execFile)('node', ['--version'], { env: { ...process.env, PATH: userPath() } });
    const [major = 0, minor = 0] = stdout.replace(/^v/, '').split('.').map(Number);
    return major > NODE.minimum[0] || (major === NODE.minimum[0] && minor >= NODE.minimum[1]);
  } catch {
    return false;
  }
}
