// The Prometheus text format, version 0.0.4.

/** The media type of the format. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** What a metric is called and means. */
export interface MetricName<Label extends string = string> {
  readonly name: string;
  readonly help: string;
  /** In the order in which they are written. */
  readonly labels: readonly Label[];
}

/** The values of the labels of one series. */
export type Labels<Label extends string> = Readonly<Record<Label, string>>;

/** A number now. */
export interface Sample<Label extends string> {
  readonly labels: Labels<Label>;
  readonly value: number;
}

/** What stands for the values of further series once there are too many. */
const OTHER = "other";
/** Labels whose values come from configurations must not fill the memory, neither here nor where they are gathered. */
const MOST_SERIES = 1_000;

interface Series<T> {
  readonly labels: Readonly<Record<string, string>>;
  /** The labels as they are written. */
  readonly text: string;
  readonly value: T;
  touchedAt: number;
}

/** The series of one metric, by the values of their labels. */
class Family<Label extends string, T> {
  protected readonly series = new Map<string, Series<T>>();

  constructor(readonly metric: MetricName<Label>, private readonly make: () => T) {}

  /** The series with these labels. */
  protected at(labels: Labels<Label>): Series<T> {
    const key = keyOf(this.metric, labels);
    const known = this.series.get(key);
    if (known !== undefined) return known;
    const { labels: names } = this.metric;
    const isFull = this.series.size >= MOST_SERIES && names.some((name) => labels[name] !== OTHER);
    if (isFull) return this.at(Object.fromEntries(names.map((name) => [name, OTHER])) as Labels<Label>);
    const made: Series<T> = {
      labels: { ...labels },
      text: written(labels),
      value: this.make(),
      touchedAt: 0,
    };
    this.series.set(key, made);
    return made;
  }

  /** Forgets series. */
  drop(which: (labels: Readonly<Record<string, string>>, touchedAt: number) => boolean): void {
    for (const [key, { labels, touchedAt }] of this.series) {
      if (which(labels, touchedAt)) this.series.delete(key);
    }
  }

  protected sorted(): readonly Series<T>[] {
    return [...this.series].sort(([a], [b]) => a < b ? -1 : 1).map(([, series]) => series);
  }
}

/** A number that only grows. */
export class Counter<Label extends string> extends Family<Label, { count: number }> {
  /** A metric without labels is there from the beginning. */
  constructor(metric: MetricName<Label>) {
    super(metric, () => ({ count: 0 }));
    if (metric.labels.length === 0) this.at({} as Labels<Label>);
  }

  /** So many more. */
  add(labels: Labels<Label>, now: number, many = 1): void {
    const series = this.at(labels);
    series.value.count += many;
    series.touchedAt = now;
  }

  /** The lines of the metric. */
  write(): string {
    const { name } = this.metric;
    const lines = this.sorted().map(({ text, value }) => `${name}${braced(text)} ${value.count}\n`);
    return `${head(this.metric, "counter")}${lines.join("")}`;
  }
}

interface Buckets {
  readonly counts: number[];
  sum: number;
  count: number;
}

/** How many observed values were at most as large as each bound. */
export class Histogram<Label extends string> extends Family<Label, Buckets> {
  /** The bounds grow; the one of all values is added. */
  constructor(metric: MetricName<Label>, private readonly bounds: readonly number[]) {
    super(metric, () => ({ counts: bounds.map(() => 0), sum: 0, count: 0 }));
  }

  /** One more value. */
  observe(labels: Labels<Label>, value: number, now: number): void {
    const series = this.at(labels);
    const buckets = series.value;
    const index = this.bounds.findIndex((bound) => value <= bound);
    if (index >= 0) buckets.counts[index] = (buckets.counts[index] ?? 0) + 1;
    buckets.sum += value;
    buckets.count++;
    series.touchedAt = now;
  }

  /** The lines of the metric. */
  write(): string {
    const { name } = this.metric;
    const bounds = [...this.bounds.map(number), "+Inf"].map((bound) => `le="${bound}"`);
    const lines = this.sorted().map(({ text, value: { counts, sum, count } }) => {
      const before = text === "" ? "" : `${text},`;
      let upTo = 0;
      const buckets = bounds.map((bound, index) => {
        // The last bound is that of all values.
        upTo = index < counts.length ? upTo + (counts[index] ?? 0) : count;
        return `${name}_bucket{${before}${bound}} ${upTo}\n`;
      });
      const labels = braced(text);
      return `${buckets.join("")}${name}_sum${labels} ${number(sum)}\n${name}_count${labels} ${count}\n`;
    });
    return `${head(this.metric, "histogram")}${lines.join("")}`;
  }
}

/** The lines of numbers as they are now, in the order of their labels. */
export function writeGauge<Label extends string>(
  metric: MetricName<Label>,
  samples: readonly Sample<Label>[],
): string {
  const byKey = new Map(samples.map((sample) => [keyOf(metric, sample.labels), sample]));
  const lines = [...byKey].sort(([a], [b]) => a < b ? -1 : 1).map(([, { labels, value }]) =>
    `${metric.name}${braced(written(labels))} ${number(value)}\n`
  );
  return `${head(metric, "gauge")}${lines.join("")}`;
}

function keyOf<Label extends string>({ labels: names }: MetricName<Label>, labels: Labels<Label>): string {
  return JSON.stringify(names.map((name) => labels[name]));
}

function head({ name, help }: MetricName, type: string): string {
  return `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n# TYPE ${name} ${type}\n`;
}

function written(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`).join(",");
}

function braced(text: string): string {
  return text === "" ? "" : `{${text}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function number(value: number): string {
  if (value === Infinity) return "+Inf";
  if (value === -Infinity) return "-Inf";
  return Number.isNaN(value) ? "NaN" : String(value);
}
