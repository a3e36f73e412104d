/** Calls its subscribers, in the order in which they came. */
export class Topic<Values extends unknown[] = []> {
  private readonly subscribers = new Set<(...values: Values) => void>();

  /** Returns what ends the subscription. */
  subscribe(subscriber: (...values: Values) => void): () => void {
    this.subscribers.add(subscriber);
    return () => void this.subscribers.delete(subscriber);
  }

  emit(...values: Values): void {
    for (const subscriber of [...this.subscribers]) subscriber(...values);
  }
}
