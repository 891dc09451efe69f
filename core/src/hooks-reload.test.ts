// A call that meets a plugin in the midst of its reload waits, and is answered by the new instance, once: a reload of the
// sandbox must never let a process start without its jail.

import { expect, test } from 'vitest';
import { isRuntimeError } from './errors.ts';
import { inPhaseOf } from './phase.ts';
import { flush } from './test-programs/fake-clock.ts';
import { SWAP_MS, TAP_MS, testHooks } from './test-programs/test-hooks.ts';
import { defineHook, type HookKind } from './tokens.ts';

const waterfall = defineHook<[text: string], string>()('t/waterfall', 'waterfall', ['text']);
const sync = defineHook<[list: string[]]>()('t/sync', 'sync', ['list']);
const append = (what: string) => (text: string) => `${text} ${what}`;

async function failure(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    (value) => expect.fail(`it gave ${String(value)}`),
    (error: unknown) => error,
  );
}

test.each(['series', 'parallel', 'bail', 'waterfall'] as const satisfies HookKind[])(
  '%s: a call during the reload is answered by the new instance, exactly once',
  async (kind) => {
    const { plugin, takeDown, setUpAgain, letIn } = testHooks();
    const hook = defineHook<[text: string], string>()('t/any', kind, ['text']);
    const log: string[] = [];
    const owner = plugin('owner').hooks;
    const subject = plugin('subject');
    plugin('after').hooks.tap(hook, () => void log.push('after'));
    subject.hooks.tap(hook, () => void log.push('old'));
    await takeDown(subject);

    let settled = 0;
    const early = Promise.resolve(owner.call(hook, 'x')).then(() => settled++);
    await flush();
    const next = setUpAgain(subject);
    next.hooks.tap(hook, async () => {
      log.push('new');
      return kind === 'bail' || kind === 'waterfall' ? 'answer' : undefined;
    });
    // One that comes when the new tap is there, but nobody may come in yet.
    const late = Promise.resolve(owner.call(hook, 'x')).then(() => settled++);
    await flush();
    expect(settled).toBe(0);
    expect(log.filter((what) => what !== 'after')).toEqual([]);
    letIn(next);
    await Promise.all([early, late]);

    expect(log.filter((what) => what === 'new')).toHaveLength(2);
    expect(log).not.toContain('old');
    // In a bail hook the subject's answer came first.
    expect(log.filter((what) => what === 'after')).toHaveLength(kind === 'bail' ? 0 : 2);
  },
);

test('a call that began before the reload and comes to the plugin after it is answered by the new instance', async () => {
  const { plugin, reload } = testHooks();
  const { promise, resolve } = Promise.withResolvers<string>();
  plugin('slow').hooks.tap(waterfall, () => promise, { stage: -1 });
  const subject = plugin('subject');
  subject.hooks.tap(waterfall, append('old'));
  const result = plugin('owner').hooks.call(waterfall, 'x');
  const second = await reload(subject, (hooks) => hooks.tap(waterfall, append('new')));
  await reload(second, (hooks) => hooks.tap(waterfall, append('newest')));
  resolve('slow');
  expect(await result).toBe('slow newest');
});

test('a call that waits follows any number of instances, also ones that failed half-way', async () => {
  const { plugin, takeDown, setUpAgain, letIn } = testHooks();
  const subject = plugin('subject');
  subject.hooks.tap(waterfall, append('old1'));
  subject.hooks.tap(waterfall, append('old2'));
  await takeDown(subject);
  const result = plugin('owner').hooks.call(waterfall, 'x');
  const failed = setUpAgain(subject);
  failed.hooks.tap(waterfall, append('failed1'));
  await takeDown(failed);
  const restored = setUpAgain(subject);
  restored.hooks.tap(waterfall, append('old1 again'));
  restored.hooks.tap(waterfall, append('old2 again'));
  letIn(restored);
  expect(await result).toBe('x old1 again old2 again');
});

test('several taps of a plugin are succeeded one by one; those without a successor are passed over', async () => {
  const { plugin, takeDown, setUpAgain, letIn, table } = testHooks();
  const subject = plugin('subject');
  for (const what of ['one', 'two', 'three']) subject.hooks.tap(waterfall, append(what));
  plugin('last').hooks.tap(waterfall, append('last'));
  await takeDown(subject);
  const owner = plugin('owner').hooks;
  const waiting = owner.call(waterfall, 'x');
  const next = setUpAgain(subject);
  for (const what of ['ONE', 'TWO']) next.hooks.tap(waterfall, append(what));
  letIn(next);
  expect(await waiting).toBe('x ONE TWO last');
  expect(await owner.call(waterfall, 'x')).toBe('x ONE TWO last');
  expect(table.report()[0]?.taps).toHaveLength(3);
});

test('a tap that only the new instance has is not part of a call that already waits', async () => {
  const { plugin, takeDown, setUpAgain, letIn } = testHooks();
  const subject = plugin('subject');
  subject.hooks.tap(waterfall, append('one'));
  await takeDown(subject);
  const owner = plugin('owner').hooks;
  const waiting = owner.call(waterfall, 'x');
  const next = setUpAgain(subject);
  for (const what of ['ONE', 'TWO']) next.hooks.tap(waterfall, append(what));
  letIn(next);
  expect(await waiting).toBe('x ONE');
  expect(await owner.call(waterfall, 'x')).toBe('x ONE TWO');
});

test('a reload changes no order', async () => {
  const { plugin, reload, table } = testHooks();
  let first = plugin('first');
  const second = plugin('second');
  first.hooks.tap(waterfall, append('first'));
  second.hooks.tap(waterfall, append('second'));
  const early = plugin('early');
  early.hooks.tap(waterfall, append('early'), { stage: -1, before: 'first' });
  for (let i = 0; i < 3; i++) first = await reload(first, (hooks) => hooks.tap(waterfall, append(`first${i}`)));
  expect(await plugin('owner').hooks.call(waterfall, 'x')).toBe('x early first2 second');
  expect(table.report()[0]?.taps.map((tap) => tap.plugin)).toEqual(['early', 'first', 'second']);
});

test('calls wait no longer than they may, then say for whom they waited', async () => {
  const { plugin, takeDown, setUpAgain, letIn, clock } = testHooks();
  const subject = plugin('subject');
  let calls = 0;
  subject.hooks.tap(waterfall, append('old'));
  await takeDown(subject);
  const outcome = failure(plugin('owner').hooks.call(waterfall, 'x'));
  clock.advance(SWAP_MS);
  const error = await outcome;
  expect(isRuntimeError(error, 'CORE_ERR_TAP_TIMEOUT') && [error.plugin, error.details.ms]).toEqual([
    'subject',
    SWAP_MS,
  ]);
  const next = setUpAgain(subject);
  next.hooks.tap(waterfall, () => {
    calls += 1;
  });
  letIn(next);
  await flush();
  expect(calls).toBe(0);
});

test('the deadline of the new tap begins when it is called', async () => {
  const { plugin, takeDown, setUpAgain, letIn, clock } = testHooks();
  const subject = plugin('subject');
  subject.hooks.tap(waterfall, append('old'));
  await takeDown(subject);
  let settled = false;
  const outcome = failure(plugin('owner').hooks.call(waterfall, 'x')).finally(() => {
    settled = true;
  });
  clock.advance(SWAP_MS - 1);
  const next = setUpAgain(subject);
  next.hooks.tap(waterfall, () => new Promise<string>(() => {}));
  letIn(next);
  clock.advance(TAP_MS - 1);
  await flush();
  expect(settled).toBe(false);
  expect(next.gate.inside).toBe(1);
  clock.advance(TAP_MS);
  expect(isRuntimeError(await outcome, 'CORE_ERR_TAP_TIMEOUT')).toBe(true);
  expect(next.gate.inside).toBe(0);
});

test('the call fails when nobody will come back, and when the new tap refuses', async () => {
  const { plugin, takeDown, setUpAgain, letIn, table } = testHooks();
  const subject = plugin('subject');
  subject.hooks.tap(waterfall, append('old'));
  await takeDown(subject);
  const owner = plugin('owner').hooks;
  const refused = failure(owner.call(waterfall, 'x'));
  const next = setUpAgain(subject);
  next.hooks.tap(waterfall, () => Promise.reject(new Error('no')));
  letIn(next);
  const error = await refused;
  expect(isRuntimeError(error, 'CORE_ERR_TAP_FAILED') && error.plugin).toBe('subject');

  await takeDown(next);
  const lost = failure(owner.call(waterfall, 'x'));
  next.gate.abandon(() => new Error('gone for good'));
  expect(await lost).toEqual(new Error('gone for good'));
  table.unpark('subject');
  // Its taps went with it.
  expect(await owner.call(waterfall, 'x')).toBe('x');
});

test('the plugin itself does not wait for itself', async () => {
  const { plugin, takeDown, setUpAgain, letIn } = testHooks();
  const subject = plugin('subject');
  const helper = plugin('helper').hooks;
  subject.hooks.tap(waterfall, append('old'));
  plugin('other').hooks.tap(waterfall, append('other'));
  await takeDown(subject);
  const next = setUpAgain(subject);
  // Nor for the tap it has not made yet.
  expect(await next.hooks.call(waterfall, 'x')).toBe('x other');
  next.hooks.tap(waterfall, append('new'));
  expect(await next.hooks.call(waterfall, 'x')).toBe('x new other');
  // Nor through another plugin that it calls in its setup.
  expect(await inPhaseOf('subject', async () => helper.call(waterfall, 'x'))).toBe('x new other');
  letIn(next);
});

test('of two plugins that are reloaded together, the one that is ready does not make calls pass over the other', async () => {
  const { plugin, takeDown, setUpAgain, letIn } = testHooks();
  const [one, two] = [plugin('one'), plugin('two')];
  for (const subject of [one, two]) subject.hooks.tap(waterfall, append(`old ${subject.name}`));
  await takeDown(one);
  await takeDown(two);
  const result = plugin('owner').hooks.call(waterfall, 'x');
  for (const subject of [one, two]) {
    const next = setUpAgain(subject);
    next.hooks.tap(waterfall, append(`new ${subject.name}`));
    letIn(next);
    await flush();
  }
  expect(await result).toBe('x new one new two');
});

test('a sync hook cannot wait: the taps are gone until the new ones are made', async () => {
  const { plugin, takeDown, setUpAgain, letIn, table } = testHooks();
  const owner = plugin('owner').hooks;
  const subject = plugin('subject');
  subject.hooks.tap(sync, (l) => void l.push('old'));
  const list: string[] = [];
  await takeDown(subject);
  expect(table.report()[0]?.taps).toEqual([]);
  owner.call(sync, list);
  const next = setUpAgain(subject);
  next.hooks.tap(sync, (l) => void l.push('new'));
  owner.call(sync, list);
  letIn(next);
  owner.call(sync, list);
  expect(list).toEqual(['new', 'new']);
});

test('a call under way is counted until the tap has answered, so that a reload waits for it', async () => {
  const { plugin } = testHooks();
  const subject = plugin('subject');
  const { promise, resolve } = Promise.withResolvers<string>();
  subject.hooks.tap(waterfall, () => promise);
  const result = plugin('owner').hooks.call(waterfall, 'x');
  subject.gate.close();
  let idle = false;
  const quiet = subject.gate.idle().then(() => {
    idle = true;
  });
  await flush();
  expect(idle).toBe(false);
  resolve('done');
  await quiet;
  expect(await result).toBe('done');
});
