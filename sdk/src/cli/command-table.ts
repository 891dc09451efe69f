// The command line as data: help, parsing, completion and docs/reference/cli.md are made from it. Handlers are loaded
// when they are needed.

import { type CommandOption, type CommandSpec, LOG_LEVELS, TRACE_KINDS } from '@runtime/core';
import type { CliContext } from './context.ts';
import { FORMATS } from './format.ts';

/** What can stand in for an argument or the value of an option, for completion. */
export type Completion = 'plugin' | 'running-plugin' | 'file' | 'folder' | readonly string[];

export interface CliCall {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
}
/** The exit code; nothing means 0. */
export type CliHandler = (context: CliContext, call: CliCall) => Promise<number | void>;

export interface CliCommand extends CommandSpec {
  readonly group: CommandGroup;
  /** By name of the argument or option. */
  readonly complete?: Readonly<Record<string, Completion>>;
  readonly load: () => Promise<{ readonly run: CliHandler }>;
  /** True of a call that a command of the same name means, which a plugin adds. */
  readonly isForeign?: (call: CliCall) => boolean;
}

export const COMMAND_GROUPS = ['Run', 'Plugins', 'Look inside', 'Set up'] as const;
export type CommandGroup = (typeof COMMAND_GROUPS)[number];

/** Before or after the name of any command. Of commands that plugins add, only `format` and `debug` may stand after it. */
export const GLOBAL_OPTIONS = {
  plugins: {
    type: 'string',
    short: 'p',
    multiple: true,
    summary: 'what to load: names, npm packages or paths, separated by commas',
  },
  config: { type: 'string', summary: "read this file instead of the user's and the project's configuration" },
  set: {
    type: 'string',
    multiple: true,
    summary: 'path=value: set one key of the configuration; value is JSON or text',
  },
  isolation: { type: 'string', multiple: true, summary: 'plugin=process or plugin=in-process: where its code runs' },
  logLevel: { type: 'string', choices: LOG_LEVELS, summary: 'least severe log lines that are shown' },
  name: { type: 'string', summary: 'which runtime is meant, when several run; "default" unless RUNTIME_NAME is set' },
  format: { type: 'string', choices: FORMATS, default: 'table', summary: 'how results are printed' },
  debug: { type: 'boolean', summary: 'show stacks of errors' },
} as const satisfies Readonly<Record<string, CommandOption>>;

export const GLOBAL_COMPLETIONS: Readonly<Record<string, Completion>> = { plugins: 'plugin', config: 'file' };

const pluginName = { name: 'plugin', summary: 'name of the plugin', required: true } as const;

export const CLI_COMMANDS: readonly CliCommand[] = [
  {
    name: 'status',
    group: 'Run',
    summary: 'whether a runtime runs, and the state of its plugins',
    load: () => import('./commands/status.ts'),
  },
  {
    name: 'serve',
    group: 'Run',
    summary: 'run the plugins until it is stopped, on a terminal too',
    description:
      'What runtime --plugins … does where there is no terminal, or where no plugin has a main command. On a terminal the ' +
      'main command of a plugin is run otherwise: a shell in a Debian container, of crostini.',
    load: () => import('./commands/serve.ts'),
  },
  {
    name: 'stop',
    group: 'Run',
    summary: 'stop the running runtime, and wait until it has; or a VM',
    args: [{ name: 'vm', summary: 'with plugin crostini: this VM, not the runtime', variadic: true }],
    options: {
      timeout: { type: 'number', default: 60, summary: 'seconds to wait for the runtime' },
      all: { type: 'boolean', summary: 'with plugin crostini: all its VMs, not the runtime' },
    },
    isForeign: ({ args, options }) => args.length > 0 || options.all === true,
    load: () => import('./commands/stop.ts'),
  },
  {
    name: 'plugin list',
    group: 'Plugins',
    summary: 'plugins that are loaded, and those that could be',
    description:
      'Reads manifests only; no code of a plugin runs. The state is that of the running runtime, if there is one.',
    load: () => import('./commands/plugin-list.ts'),
  },
  {
    name: 'plugin info',
    group: 'Plugins',
    summary: 'what a plugin provides, requires and holds',
    args: [pluginName],
    complete: { plugin: 'plugin' },
    load: () => import('./commands/plugin-info.ts'),
  },
  {
    name: 'plugin graph',
    group: 'Plugins',
    summary: 'who requires whom, and in which order they start',
    description: 'Of the plugins named by --plugins, else of the running runtime, else of the configuration.',
    options: { dot: { type: 'boolean', summary: 'as a graph for Graphviz' } },
    load: () => import('./commands/plugin-graph.ts'),
  },
  {
    name: 'plugin new',
    group: 'Plugins',
    summary: 'write a plugin package to start from',
    args: [{ name: 'folder', summary: 'where; its last part is the name. Or @scope/name', required: true }],
    options: {
      device: { type: 'boolean', summary: 'a virtio device for VMs' },
      install: { type: 'boolean', default: true, summary: 'install packages with npm (--no-install does not)' },
    },
    complete: { folder: 'folder' },
    load: () => import('./commands/plugin-new.ts'),
  },
  {
    name: 'plugin dev',
    group: 'Plugins',
    summary: 'run plugins from source, and reload them when a file changes',
    args: [{ name: 'plugin', summary: 'names or paths, beside those of --plugins', variadic: true }],
    complete: { plugin: 'plugin' },
    load: () => import('./commands/plugin-dev.ts'),
  },
  {
    name: 'plugin reload',
    group: 'Plugins',
    summary: 'replace the code of a running plugin by what is on disk now',
    args: [pluginName],
    complete: { plugin: 'running-plugin' },
    load: () => import('./commands/plugin-reload.ts'),
  },
  {
    name: 'plugin enable',
    group: 'Plugins',
    summary: 'load a plugin now and at every start',
    description: "Adds it to the user's configuration, and to the running runtime if there is one.",
    args: [{ name: 'plugin', summary: 'name, npm package or path', required: true }],
    complete: { plugin: 'plugin' },
    load: () => import('./commands/plugin-enable.ts'),
  },
  {
    name: 'plugin disable',
    group: 'Plugins',
    summary: 'unload a plugin, and do not load it at the next start',
    description: "Removes it from the user's configuration, and from the running runtime if there is one.",
    args: [pluginName],
    complete: { plugin: 'plugin' },
    load: () => import('./commands/plugin-disable.ts'),
  },
  {
    name: 'inspect',
    group: 'Look inside',
    summary: 'what the running runtime holds',
    args: [{ name: 'part', summary: 'plugins, services, hooks, events, leases, keepers or processes' }],
    complete: { part: ['plugins', 'services', 'hooks', 'events', 'leases', 'keepers', 'processes'] },
    load: () => import('./commands/inspect.ts'),
  },
  {
    name: 'trace',
    group: 'Look inside',
    summary: 'follow events, calls, leases and processes as they happen',
    options: {
      plugin: { type: 'string', summary: 'only what this plugin does' },
      kind: { type: 'string', choices: TRACE_KINDS, summary: 'only records of this kind' },
      vm: { type: 'string', summary: 'only what concerns this VM' },
      event: { type: 'string', summary: 'only events of this topic; a * at the end stands for any' },
      why: { type: 'number', summary: 'print what led to the record of this id, and end' },
    },
    complete: { plugin: 'running-plugin' },
    load: () => import('./commands/trace.ts'),
  },
  {
    name: 'doctor',
    group: 'Look inside',
    summary: 'check this machine, the configuration and the plugins',
    load: () => import('./commands/doctor.ts'),
  },
  {
    name: 'config show',
    group: 'Set up',
    summary: 'the configuration, and where each value comes from',
    options: { all: { type: 'boolean', summary: 'with values that were left at their default' } },
    load: () => import('./commands/config-show.ts'),
  },
  {
    name: 'config check',
    group: 'Set up',
    summary: 'look for mistakes, also in the settings of plugins',
    description: 'Loads the code of the plugins, whose own schemas check their settings, but starts none.',
    load: () => import('./commands/config-check.ts'),
  },
  {
    name: 'completion',
    group: 'Set up',
    summary: 'print a completion script for a shell',
    description: 'For example: source <(runtime completion bash)',
    args: [{ name: 'shell', summary: 'bash, zsh or fish', required: true }],
    complete: { shell: ['bash', 'zsh', 'fish'] },
    load: () => import('./commands/completion.ts'),
  },
];
