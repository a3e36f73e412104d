const FIRST_SECONDS = 0.1;
const LONGEST_SECONDS = 15;

/**
 * The pause before the given attempt (from 1): doubling, at most 15 s, and spread over its upper half by
 * `chance` in [0, 1), so that pages that lost one server do not come back at one moment.
 */
export function backoffSeconds(attempt: number, chance: number): number {
  const ceiling = Math.min(FIRST_SECONDS * 2 ** Math.min(attempt - 1, 20), LONGEST_SECONDS);
  return ceiling * (0.5 + chance / 2);
}
