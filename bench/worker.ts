// One benchmark in a process of its own, so that what V8 learned from one does not slow down another.
// Arguments: file of the case, name of the benchmark. The result goes to the parent as a message.

import { pathToFileURL } from 'node:url';
import type { Benchmark } from './benchmark.ts';
import { measure } from './measure.ts';

const [file = '', name = ''] = process.argv.slice(2);
const module = (await import(pathToFileURL(file).href)) as { readonly default: readonly Benchmark[] };
const benchmark = module.default.find((b) => b.name === name);
if (benchmark === undefined) throw new Error(`${file} has no benchmark "${name}"`);
const result = await measure(benchmark);
process.send?.(result, () => process.disconnect());
