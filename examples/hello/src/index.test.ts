import { createTestRuntime, recordEvents } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import { greeter } from './contract.ts';
import hello from './index.ts';

test('greets as configured, and tells who asked', async () => {
  await using runtime = await createTestRuntime({ plugins: [hello], config: { hello: { greeting: 'Hi' } } });
  using greeted = recordEvents(runtime, 'hello:greeted');
  expect(await runtime.get(greeter).greet('Bob')).toBe('Hi, Bob.');
  const { out } = await runtime.run('hello greet', { options: { loud: true } });
  expect(out).toEqual(['HI, WORLD.']);
  expect(greeted.events.map(({ data }) => data)).toEqual([
    { name: 'Bob', by: 'runtime' },
    { name: 'world', by: 'the command line' },
  ]);
});
