import { describe, expect, test } from 'vitest';
import { coreErrorTable } from './core-errors.ts';
import {
  defineErrors,
  type ErrorRecord,
  fromErrorRecord,
  GrpcStatus,
  isRuntimeError,
  RuntimeError,
  toErrorRecord,
  UNCODED,
} from './errors.ts';

const errors = defineErrors({
  TEST_ERR_VM_BUSY: {
    message: '{vm} is busy with {what}, says {vm}',
    remedy: 'Wait for {what}, or stop {vm}.',
    grpc: GrpcStatus.unavailable,
    exit: 7,
    retryable: true,
  },
  TEST_ERR_PLAIN: { message: 'plain', remedy: 'Nothing.' },
  TEST_ERR_NAMED: { message: 'named', remedy: 'Nothing.', dbus: 'Other.Name' },
});

describe('an error from a table', () => {
  test('has its texts filled in from the details, and keeps those', () => {
    const cause = new Error('why');
    const details = { vm: 'penguin $& $1 {what}', what: 7n };
    const error = errors.TEST_ERR_VM_BUSY({ details, cause, plugin: 'vmm' });
    expect(error.message).toBe('penguin $& $1 {what} is busy with 7, says penguin $& $1 {what}');
    expect(error.remedy).toBe('Wait for 7, or stop penguin $& $1 {what}.');
    expect(error).toMatchObject({
      code: 'TEST_ERR_VM_BUSY',
      plugin: 'vmm',
      grpc: 14,
      exit: 7,
      retryable: true,
      details,
      cause,
    });
    expect(String(error)).toBe(`TEST_ERR_VM_BUSY: ${error.message}`);
    expect(error).toBeInstanceOf(Error);
    expect(error.stack).toContain('errors.test.ts');
  });

  test('leaves what it has no details for as it is', () => {
    expect(errors.TEST_ERR_VM_BUSY({ details: { vm: 'penguin', what: undefined } }).message).toBe(
      'penguin is busy with undefined, says penguin',
    );
    expect(errors.TEST_ERR_VM_BUSY().message).toBe('{vm} is busy with {what}, says {vm}');
  });

  test('has defaults', () => {
    const error = errors.TEST_ERR_PLAIN();
    expect(error).toMatchObject({
      grpc: GrpcStatus.unknown,
      exit: 1,
      retryable: false,
      plugin: undefined,
      details: {},
    });
    expect('cause' in error).toBe(false);
  });

  test('has a D-Bus name made of its code, unless it is given one', () => {
    expect(errors.TEST_ERR_VM_BUSY().dbus).toBe('VmBusy');
    expect(errors.TEST_ERR_NAMED().dbus).toBe('Other.Name');
    expect(new RuntimeError('ENOENT', { message: '', remedy: '' }).dbus).toBe('Enoent');
    expect(new RuntimeError(UNCODED, { message: '', remedy: '' }).dbus).toBe('Uncoded');
  });

  test('comes from a table that cannot be changed', () => {
    expect(Object.isFrozen(errors)).toBe(true);
  });
});

describe('recognising one', () => {
  test('goes by its brand and code', () => {
    const error = errors.TEST_ERR_PLAIN();
    expect(isRuntimeError(error)).toBe(true);
    expect(isRuntimeError(error, 'TEST_ERR_PLAIN')).toBe(true);
    expect(isRuntimeError(error, 'TEST_ERR_NAMED')).toBe(false);
    for (const other of [undefined, null, 'TEST_ERR_PLAIN', new Error('x'), { code: 'TEST_ERR_PLAIN' }, () => {}]) {
      expect(isRuntimeError(other)).toBe(false);
    }
  });

  test('works for those of a second copy of the core', async () => {
    const copy = `./errors.ts?copy`;
    const second = (await import(/* @vite-ignore */ copy)) as typeof import('./errors.ts');
    const foreign = second.defineErrors({ TEST_ERR_FOREIGN: { message: 'foreign', remedy: '' } }).TEST_ERR_FOREIGN();
    expect(foreign).not.toBeInstanceOf(RuntimeError);
    expect(isRuntimeError(foreign, 'TEST_ERR_FOREIGN')).toBe(true);
    expect(toErrorRecord(foreign).code).toBe('TEST_ERR_FOREIGN');
  });
});

describe('crossing a process border', () => {
  const roundTrip = (e: unknown): Error => {
    // What JSON can carry, and no more.
    return fromErrorRecord(JSON.parse(JSON.stringify(toErrorRecord(e))) as ErrorRecord);
  };

  test('keeps everything but details and stack, with the causes', () => {
    const inner = errors.TEST_ERR_PLAIN({ plugin: 'inner' });
    const middle = new TypeError('middle', { cause: inner });
    const error = errors.TEST_ERR_VM_BUSY({ details: { vm: 'penguin', what: 'x' }, cause: middle, plugin: 'vmm' });
    const back = roundTrip(error);
    if (!isRuntimeError(back, 'TEST_ERR_VM_BUSY')) expect.fail('another code');
    const { message, remedy, grpc, exit, retryable, plugin, dbus } = error;
    expect(back).toMatchObject({ message, remedy, grpc, exit, retryable, plugin, dbus });
    const cause = back.cause as RuntimeError;
    expect([cause.code, cause.message]).toEqual([UNCODED, 'middle']);
    expect(isRuntimeError(cause.cause, 'TEST_ERR_PLAIN') && cause.cause.plugin).toBe('inner');
    expect(JSON.stringify(toErrorRecord(error))).not.toContain('errors.test.ts');
  });

  test('texts that look like templates stay as they are', () => {
    const error = errors.TEST_ERR_VM_BUSY({ details: { vm: '{what}', what: '{vm}' } });
    expect(roundTrip(error).message).toBe('{what} is busy with {vm}, says {what}');
  });

  test('codes of the system stay; everything else has none', () => {
    expect(toErrorRecord(Object.assign(new Error('no file'), { code: 'ENOENT' }))).toEqual({
      code: 'ENOENT',
      message: 'no file',
    });
    expect(toErrorRecord(Object.assign(new Error('odd'), { code: 5 }))).toEqual({ code: UNCODED, message: 'odd' });
  });

  test.each<[unknown, string]>([
    ['text', 'text'],
    [undefined, 'undefined'],
    [null, 'null'],
    [Symbol('s'), 'Symbol(s)'],
    [12n, '12'],
    [Object.create(null), '[object Object]'],
    [
      {
        toString() {
          throw new Error('no');
        },
      },
      '[object Object]',
    ],
  ])('whatever was thrown becomes a record', (thrown, message) => {
    expect(toErrorRecord(thrown)).toEqual({ code: UNCODED, message });
  });

  test('causes go eight deep', () => {
    let error = new Error('0');
    for (let i = 1; i < 20; i++) error = new Error(`${i}`, { cause: error });
    const messages: string[] = [];
    for (let e: unknown = roundTrip(error); e instanceof Error; e = e.cause) messages.push(e.message);
    expect(messages).toEqual(['19', '18', '17', '16', '15', '14', '13', '12', '11']);
  });

  test('an error that is its own cause ends too', () => {
    const error: Error = new Error('circle');
    error.cause = error;
    expect(() => JSON.stringify(toErrorRecord(error))).not.toThrow();
  });

  test('aggregates stay aggregates, with their cause and at most 32 errors', () => {
    const many = Array.from({ length: 40 }, (_, i) => (i === 0 ? errors.TEST_ERR_PLAIN() : new Error(`${i}`)));
    const back = roundTrip(new AggregateError(many, 'several', { cause: new Error('why') }));
    expect(back).toBeInstanceOf(AggregateError);
    expect(back.message).toBe('several');
    expect((back.cause as Error).message).toBe('why');
    const inner = (back as AggregateError).errors;
    expect(inner).toHaveLength(32);
    expect(isRuntimeError(inner[0], 'TEST_ERR_PLAIN')).toBe(true);
    expect(inner[31].message).toBe('31');
    expect('cause' in roundTrip(new AggregateError([], 'none'))).toBe(false);
  });

  test('what a record does not say has defaults', () => {
    const back = fromErrorRecord({ code: 'X_ERR_Y', message: 'm' });
    expect(back).toMatchObject({ remedy: '', grpc: GrpcStatus.unknown, exit: 1, retryable: false, plugin: undefined });
    expect('cause' in back).toBe(false);
  });
});

test('every row of the core’s own table is fit for a reader and for a shell', () => {
  for (const [code, spec] of Object.entries(coreErrorTable)) {
    expect(code).toMatch(/^CORE_ERR_[A-Z]+(_[A-Z]+)*$/);
    // A message goes into other sentences, a remedy is one.
    expect(spec.message, code).not.toMatch(/^[A-Z][a-z]|[.!]$/);
    expect(spec.remedy, code).toMatch(/\S/);
    const exit = 'exit' in spec ? spec.exit : 1;
    expect(exit > 0 && exit < 125, code).toBe(true);
  }
  const dbus = Object.keys(coreErrorTable).map((code) =>
    code.replace('CORE_ERR_', '').replaceAll('_', '').toLowerCase(),
  );
  expect(new Set(dbus).size).toBe(dbus.length);
});
