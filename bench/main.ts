// npm run bench -- [name…] [--json] [--write]
// Every file of bench/cases is a list of benchmarks; a name selects those that contain it. --write puts the table of a
// whole run into docs/performance.md; with names it replaces their rows, if the others are of the same day and machine.

import { fork } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { Benchmark, Result } from './benchmark.ts';
import { headLine, isOf, machine, replaceRows, replaceTable, resultLine, toMarkdown } from './report.ts';

const FOLDER = import.meta.dirname;
const PAGE = join(FOLDER, '../docs/performance.md');
const WORKER = join(FOLDER, 'worker.ts');
const FLAGS = ['--conditions=@runtime/source', '--expose-gc'];

interface Found {
  readonly file: string;
  readonly benchmark: Benchmark;
}

await main();

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean', default: false }, write: { type: 'boolean', default: false } },
  });
  const today = new Date().toISOString().slice(0, 10);
  const page = readFileSync(PAGE, 'utf8');
  if (values.write && positionals.length > 0 && !isOf(page, today)) {
    // They would be read as one measurement.
    fail('the other rows are of another day or machine; leave the names out');
  }
  const found = await findBenchmarks();
  const chosen = found.filter(
    ({ benchmark }) => positionals.length === 0 || positionals.some((name) => benchmark.name.includes(name)),
  );
  if (chosen.length === 0) fail(`no such benchmark; there are: ${found.map((f) => f.benchmark.name).join(', ')}`);
  const results: Result[] = [];
  if (!values.json) console.log(`${machine()}\n\n${headLine()}`);
  for (const { file, benchmark } of chosen) {
    const result = await runInWorker(file, benchmark.name);
    results.push(result);
    if (!values.json) console.log(resultLine(result));
  }
  if (values.json) console.log(JSON.stringify({ machine: machine(), results }, undefined, 2));
  if (!values.write) return;
  const written = positionals.length > 0 ? replaceRows(page, results) : replaceTable(page, toMarkdown(results, today));
  writeFileSync(PAGE, written);
}

async function findBenchmarks(): Promise<readonly Found[]> {
  const folder = join(FOLDER, 'cases');
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.bench.ts'))
    .sort();
  const found: Found[] = [];
  for (const name of files) {
    const file = join(folder, name);
    const module = (await import(pathToFileURL(file).href)) as { readonly default: readonly Benchmark[] };
    for (const benchmark of module.default) found.push({ file, benchmark });
  }
  return found;
}

function runInWorker(file: string, name: string): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = fork(WORKER, [file, name], { execArgv: FLAGS, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    let result: Result | undefined;
    child.on('message', (message) => {
      result = message as Result;
    });
    child.on('error', reject);
    child.on('exit', (code) => {
      if (result !== undefined && code === 0) resolve(result);
      else reject(new Error(`benchmark ${name} ended with exit code ${code} and no result`));
    });
  });
}

function fail(why: string): never {
  console.error(why);
  process.exit(2);
}
