import { describe, expect, test } from 'vitest';
import { RunError } from '../runtime/errors.ts';
import { Lease } from '../runtime/lease.ts';
import type { World } from '../runtime/world.ts';
import { realWorld } from '../runtime/world.ts';

const TTL = 40_000;
/** min(5 s, a quarter of the ttl) */
const MARGIN = 5000;

/** Two clocks and sleepers that only `pass` wakes. */
function fakeWorld() {
  const clock = { wall: 1_700_000_000_000, monotonic: 500 };
  let sleepers: { at: number; wake: () => void }[] = [];
  const world: World = {
    ...realWorld,
    now: () => clock.wall,
    monotonic: () => clock.monotonic,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason as Error);
        const abort = (): void => {
          sleepers = sleepers.filter((s) => s !== sleeper);
          reject(signal?.reason as Error);
        };
        const wake = (): void => {
          signal?.removeEventListener('abort', abort);
          resolve();
        };
        const sleeper = { at: clock.monotonic + ms, wake };
        sleepers.push(sleeper);
        signal?.addEventListener('abort', abort);
      }),
  };
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) await Promise.resolve();
  };
  /** Lets time go on, step by step, so that who wakes can act before the next one does. */
  const pass = async (ms: number): Promise<void> => {
    const end = clock.monotonic + ms;
    await settle();
    while (clock.monotonic < end) {
      const next = Math.min(end, ...sleepers.map((s) => s.at));
      clock.wall += next - clock.monotonic;
      clock.monotonic = next;
      const due = sleepers.filter((s) => s.at <= next);
      sleepers = sleepers.filter((s) => s.at > next);
      for (const s of due) s.wake();
      await settle();
    }
  };
  return { world, clock, pass, sleeping: () => sleepers.length };
}

function held(renew: () => Promise<void>) {
  const fake = fakeWorld();
  const { world } = fake;
  const lease = new Lease(world, TTL, renew, { wall: world.now(), monotonic: world.monotonic() });
  lease.start();
  return { ...fake, lease };
}

const hang = (): Promise<void> => new Promise(() => undefined);
const lost = new RunError('lease-lost', 'another process has it', { retryable: true });

describe('the lease', () => {
  test('renewals keep it fresh for as long as they succeed', async () => {
    const at: number[] = [];
    const h = held(() => {
      at.push(h.clock.monotonic - 500);
      return Promise.resolve();
    });
    await h.pass(10 * TTL);
    expect([h.lease.fresh, h.lease.signal.aborted]).toEqual([true, false]);
    expect(at.slice(0, 3)).toEqual([13_333, 26_666, 39_999]);
    expect(at.length).toBe(30);
    await h.lease.stop();
    expect(h.sleeping()).toBe(0);
    await h.pass(TTL);
    expect(at.length).toBe(30);
    expect(h.lease.signal.aborted).toBe(false);
  });

  test('a renewal that hangs: what is in flight ends at the ttl less the margin, and nothing may start', async () => {
    const h = held(hang);
    await h.pass(TTL - MARGIN - 1);
    expect([h.lease.fresh, h.lease.signal.aborted]).toEqual([true, false]);
    h.lease.assertFresh();
    await h.pass(1);
    expect([h.lease.fresh, h.lease.signal.aborted]).toEqual([false, true]);
    expect(h.lease.signal.reason).toMatchObject({ code: 'lease-lost' });
    expect(() => h.lease.assertFresh()).toThrow('its last renewal is too old');
  });

  test('a renewal counts from when it was sent, not from its answer', async () => {
    let answer = (): void => undefined;
    let renewals = 0;
    const h = held(() => (renewals++ === 0 ? new Promise((resolve) => (answer = resolve)) : hang()));
    await h.pass(30_000);
    answer();
    await h.pass(13_333 + TTL - MARGIN - 30_000 - 1);
    expect(h.lease.signal.aborted).toBe(false);
    await h.pass(20);
    expect(h.lease.signal.aborted).toBe(true);
  });

  test('a renewal that fails without losing it is tried again', async () => {
    let renewals = 0;
    const h = held(() => (renewals++ === 0 ? Promise.reject(new Error('busy')) : Promise.resolve()));
    await h.pass(3 * TTL);
    expect([h.lease.fresh, h.lease.signal.aborted]).toEqual([true, false]);
    await h.lease.stop();
  });

  test('a lost compare-and-set aborts at once with its own reason', async () => {
    const h = held(() => Promise.reject(lost));
    await h.pass(13_333);
    expect([h.lease.fresh, h.lease.signal.aborted, h.lease.signal.reason]).toEqual([false, true, lost]);
    expect(() => h.lease.assertFresh()).toThrow(lost);
    await h.lease.stop();
  });

  test.each(['wall', 'monotonic'] as const)('a jump of the %s clock alone makes it too old to send', async (which) => {
    const h = held(hang);
    await h.pass(1000);
    expect(h.lease.fresh).toBe(true);
    h.clock[which] += TTL;
    expect(h.lease.fresh).toBe(false);
    expect(() => h.lease.assertFresh()).toThrow('its last renewal is too old');
  });

  test('a wall clock that was set back changes nothing: the monotonic one counts', async () => {
    const h = held(hang);
    h.clock.wall -= 86_400_000;
    await h.pass(TTL - MARGIN);
    expect([h.lease.fresh, h.lease.signal.aborted]).toEqual([false, true]);
  });

  test('statements that write the state row do not overlap, renewals included', async () => {
    const log: string[] = [];
    let endRenewal = (): void => undefined;
    const h = held(() => {
      log.push('renewal begins');
      return new Promise((resolve) => {
        endRenewal = () => {
          log.push('renewal ends');
          resolve();
        };
      });
    });
    let endFlip = (): void => undefined;
    await h.pass(13_000);
    const flip = h.lease.write(async () => {
      log.push('flip begins');
      await new Promise<void>((resolve) => (endFlip = resolve));
      log.push('flip ends');
      return 'flipped';
    });
    await h.pass(1000);
    const failing = h.lease.write(() => Promise.reject(new Error('conflict')));
    const after = h.lease.write(() => Promise.resolve(log.push('after')));
    failing.catch(() => undefined);
    expect(log).toEqual(['flip begins']);
    endFlip();
    expect(await flip).toBe('flipped');
    await h.pass(0);
    expect(log).toEqual(['flip begins', 'flip ends', 'renewal begins']);
    endRenewal();
    await expect(failing).rejects.toThrow('conflict');
    await after;
    expect(log).toEqual(['flip begins', 'flip ends', 'renewal begins', 'renewal ends', 'after']);
    await h.lease.stop();
  });

  test('stopping waits for the renewal that is on its way and starts no other', async () => {
    let end = (): void => undefined;
    let renewals = 0;
    const h = held(() => {
      renewals++;
      return new Promise((resolve) => (end = resolve));
    });
    await h.pass(13_333);
    let stopped = false;
    const stop = h.lease.stop().then(() => (stopped = true));
    await h.pass(1000);
    expect([renewals, stopped]).toEqual([1, false]);
    end();
    await stop;
    await h.pass(TTL);
    expect(renewals).toBe(1);
  });
});
