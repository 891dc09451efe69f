// Where things lie, https://specifications.freedesktop.org/basedir-spec/latest/

import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

export type Environment = Readonly<Record<string, string | undefined>>;

function base(env: Environment, variable: string, fallback: string): string {
  const value = env[variable];
  // The specification has relative paths ignored.
  const folder = value !== undefined && isAbsolute(value) ? value : join(env.HOME || homedir(), fallback);
  return join(folder, 'runtime');
}

export const configFolder = (env: Environment): string => base(env, 'XDG_CONFIG_HOME', '.config');
export const dataFolder = (env: Environment): string => base(env, 'XDG_DATA_HOME', '.local/share');
export const stateFolder = (env: Environment): string => base(env, 'XDG_STATE_HOME', '.local/state');
export const cacheFolder = (env: Environment): string => base(env, 'XDG_CACHE_HOME', '.cache');
