// `runtime __complete <words>`: what completion scripts ask.

import { connect } from '@runtime/core/control';
import { listPlugins } from '@runtime/core/loader';
import { pluginPlaces } from '../places.ts';
import type { Environment } from '../xdg.ts';
import { type Answer, type Candidate, complete } from './complete.ts';

/** Somebody waits at the prompt. */
const TIMEOUTS = { connectMs: 300, requestMs: 500 };

/** Never throws: half an answer is better than a broken prompt. */
export async function answerCompletion(env: Environment, cwd: string, words: readonly string[]): Promise<string> {
  const listing = memo(() => listPlugins(pluginPlaces(env, cwd)).plugins.map(({ manifest }) => manifest));
  const client = memo(() => connect({ env, name: env.RUNTIME_NAME || 'default', timeouts: TIMEOUTS }));
  let connected = false;
  const ask = async <T>(work: (c: Awaited<ReturnType<typeof client>>) => Promise<T>): Promise<T | undefined> => {
    try {
      const c = await client();
      connected = true;
      return await work(c);
    } catch {
      return undefined;
    }
  };
  try {
    const answer = await complete(words, {
      plugins: () => listing().map(({ plugin, description }) => ({ text: plugin, summary: description })),
      async running() {
        const plugins = (await ask((c) => c.request('plugin.list', {}))) ?? [];
        return plugins.map(({ name, state }) => ({ text: name, summary: state }));
      },
      async foreignCommands() {
        const running = (await ask((c) => c.request('commands.list', {}))) ?? [];
        const names = new Set(running.map(({ name }) => name));
        return [...running, ...listing().flatMap(({ commands }) => commands.filter(({ name }) => !names.has(name)))];
      },
    });
    return toLines(answer);
  } catch {
    return '';
  } finally {
    if (connected) await (await client())[Symbol.asyncDispose]();
  }
}

function toLines(answer: Answer): string {
  if (typeof answer === 'string') return `:${answer}\n`;
  const line = ({ text, summary }: Candidate): string => `${text}\t${summary.replaceAll(/\s+/g, ' ')}\n`;
  return answer.map(line).join('');
}

function memo<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
