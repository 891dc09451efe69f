import assert from 'node:assert/strict';
import { createTestRuntime, defineContract, recordEvents, recordHook, runContract } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import { examplePluginBeforeGreet, examplePluginService, SEATS } from './contract.ts';
import examplePlugin from './index.ts';

test('greets guests, gives each a seat and tells about it', async () => {
  await using runtime = await createTestRuntime({
    plugins: [examplePlugin],
    config: { 'example-plugin': { greeting: 'Welcome' } },
  });
  using greeted = recordEvents(runtime, 'example-plugin:*');
  using asked = recordHook(runtime, examplePluginBeforeGreet);
  const service = runtime.get(examplePluginService);

  expect(await service.greet('Ada')).toBe('Welcome, Ada! You are the first.');
  expect(await service.greet('Bob')).toBe('Welcome, Bob!');

  expect(greeted.events.map(({ data }) => data)).toEqual([
    { name: 'Ada', seat: 1 },
    { name: 'Bob', seat: 2 },
  ]);
  expect(asked.calls[1]).toEqual(['Welcome, Bob!', 'Bob']);
});

test('another plugin may change a greeting', async () => {
  await using runtime = await createTestRuntime({ plugins: [examplePlugin] });
  runtime.hooks.tap(examplePluginBeforeGreet, (text) => text.replace('Hello', 'Good morning'));
  expect(await runtime.get(examplePluginService).greet('Ada')).toMatch(/^Good morning, Ada!/);
});

test('who comes when all seats are taken waits until a guest leaves', async () => {
  await using runtime = await createTestRuntime({ plugins: [examplePlugin] });
  const service = runtime.get(examplePluginService);
  for (let i = 1; i <= SEATS; i++) await service.greet(`guest ${i}`);
  await expect(service.greet('Zoe')).rejects.toMatchObject({ code: 'CORE_ERR_POOL_EXHAUSTED' });
  await service.leave('guest 3');
  await service.greet('Zoe');
  expect(await service.guests()).toContainEqual({ name: 'Zoe', seat: 3 });
});

test('a reload keeps guests and seats', async () => {
  await using runtime = await createTestRuntime({ plugins: [examplePlugin] });
  const service = runtime.get(examplePluginService);
  for (const name of ['Ada', 'Bob']) await service.greet(name);
  await service.leave('Ada');
  const { outcome } = await runtime.reload('example-plugin', examplePlugin);
  expect(outcome).toBe('swapped');
  expect(await service.guests()).toEqual([{ name: 'Bob', seat: 2 }]);
});

test('the command greets', async () => {
  await using runtime = await createTestRuntime({ plugins: [examplePlugin] });
  const { out } = await runtime.run('example-plugin greet', { args: ['Ada'], options: { loud: true } });
  expect(out).toEqual(['HELLO, ADA! YOU ARE THE FIRST.']);
  const { data } = await runtime.run('example-plugin guests');
  expect(data).toEqual([[{ name: 'Ada', seat: 1 }]]);
});

// What every provider of the service must do, also one that replaces this plugin: export it for them if you like.
const contract = defineContract(examplePluginService, {
  'a guest has a seat until leaving': async (service) => {
    await service.greet('Ada');
    assert.deepEqual(
      (await service.guests()).map(({ name }) => name),
      ['Ada'],
    );
    await service.leave('Ada');
    assert.deepEqual(await service.guests(), []);
  },
  'greeting twice takes one seat': async (service) => {
    await service.greet('Ada');
    await service.greet('Ada');
    assert.equal((await service.guests()).length, 1);
  },
});
runContract(
  contract,
  async (scope) => {
    const runtime = scope.use('runtime', await createTestRuntime({ plugins: [examplePlugin] }));
    return runtime.get(examplePluginService);
  },
  { test },
);
