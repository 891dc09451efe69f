// nft(8), which is given one text at a time, and asked what else there is.

import { execFile } from 'node:child_process';
import { z } from 'zod';
import { errors } from '../errors.ts';
import { ALL_TAPS } from './names.ts';
import { NFT, programPath } from './programs.ts';

const TIMEOUT_MS = 10_000;
const MAX_OUTPUT = 16 * 2 ** 20;
const DOCKER_ADDITIONS = 'DOCKER-USER';

/** @throws CROSTINI_ERR_NETWORK with what it says */
export async function changeRules(text: string): Promise<void> {
  await nft(['-f', '-'], text);
}

/** A chain of somebody else that drops what it does not know, and nothing in its table is about VMs. */
export interface DroppingChain {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly hook: 'input' | 'forward';
  /** The chain where whoever made it wants others to add their rules, if there is one. */
  readonly additions?: string;
}

const listingSchema = z.object({
  nftables: z.array(
    z.object({
      chain: z
        .object({
          family: z.string(),
          table: z.string(),
          name: z.string(),
          hook: z.string().optional(),
          policy: z.string().optional(),
        })
        .optional(),
    }),
  ),
});

/** @throws CROSTINI_ERR_NETWORK */
export async function droppingChains(): Promise<readonly DroppingChain[]> {
  const found = parseDropping(await nft(['--json', 'list', 'chains']));
  const blocking: DroppingChain[] = [];
  for (const chain of found) {
    const rules = await nft(['list', 'table', chain.family, chain.table]);
    if (!rules.includes(`"${ALL_TAPS}"`)) blocking.push(chain);
  }
  return blocking;
}

/** @throws CROSTINI_ERR_NETWORK for what nft would not print */
export function parseDropping(json: string): readonly DroppingChain[] {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    value = undefined;
  }
  const { success, data } = listingSchema.safeParse(value);
  if (!success) throw refuse('nft prints something that is no list of chains', 'Use nftables 1.0 or newer.');
  const chains = data.nftables.flatMap(({ chain }) => (chain === undefined ? [] : [chain]));
  return chains.flatMap((chain) => {
    if (chain.policy !== 'drop') return [];
    const { family, table, name, hook } = chain;
    if (family !== 'ip' && family !== 'inet') return [];
    if (hook !== 'input' && hook !== 'forward') return [];
    const isDockers = chains.some((one) => one.table === table && one.name === DOCKER_ADDITIONS);
    const additions = hook === 'forward' && isDockers ? { additions: DOCKER_ADDITIONS } : {};
    return [{ family, table, chain: name, hook, ...additions }];
  });
}

function nft(args: readonly string[], input = ''): Promise<string> {
  const program = programPath(NFT);
  if (program === undefined) throw refuse('there is no nft', 'Install it: apt-get install nftables');
  return new Promise((resolve, reject) => {
    const options = { timeout: TIMEOUT_MS, maxBuffer: MAX_OUTPUT, env: { LANG: 'C' } };
    const child = execFile(program, [...args], options, (e, stdout, stderr) => {
      if (e === null) return resolve(stdout);
      const why = `nft ${args.join(' ')} failed: ${stderr.trim().split('\n')[0] || e.message}`;
      reject(refuse(why, 'It takes root (CAP_NET_ADMIN), and a kernel with nf_tables: modprobe nf_tables', e));
    });
    // One that has ended early says why itself.
    child.stdin?.on('error', () => {}).end(input);
  });
}

function refuse(why: string, hint: string, cause?: unknown): Error {
  return errors.CROSTINI_ERR_NETWORK({ details: { why, hint }, cause });
}
