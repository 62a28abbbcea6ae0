// The Prometheus text format, version 0.0.4.

/** The media type of the format. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** The name and the meaning of a metric. */
export interface MetricName<Label extends string = string> {
  readonly name: string;
  readonly help: string;
  /** In the order in which they are printed. */
  readonly labels: readonly Label[];
}

/** The values of the labels of one series. */
export type Labels<Label extends string> = Readonly<Record<Label, string>>;

/** The value of a gauge now. */
export interface Sample<Label extends string> {
  readonly labels: Labels<Label>;
  readonly value: number;
}

/** The label value of all further series once there are too many. */
const OTHER = "other";
/** Label values that come from configurations must not fill the memory, neither here nor where they are collected. */
const MOST_SERIES = 1_000;

interface Series<T> {
  readonly labels: Readonly<Record<string, string>>;
  /** The labels as they are printed. */
  readonly text: string;
  readonly value: T;
  touchedAt: number;
}

/** The series of one metric, by their label values. */
class Family<Label extends string, T> {
  protected readonly series = new Map<string, Series<T>>();

  constructor(readonly metric: MetricName<Label>, private readonly make: () => T) {}

  /** Returns the series with these labels. */
  protected at(labels: Labels<Label>): Series<T> {
    const key = keyOf(this.metric, labels);
    const known = this.series.get(key);
    if (known !== undefined) return known;
    const { labels: names } = this.metric;
    const isFull = this.series.size >= MOST_SERIES && names.some((name) => labels[name] !== OTHER);
    if (isFull) return this.at(Object.fromEntries(names.map((name) => [name, OTHER])) as Labels<Label>);
    const made: Series<T> = {
      labels: { ...labels },
      text: printLabels(labels),
      value: this.make(),
      touchedAt: 0,
    };
    this.series.set(key, made);
    return made;
  }

  /** Deletes series. */
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
  /** A metric without labels has its series from the beginning. */
  constructor(metric: MetricName<Label>) {
    super(metric, () => ({ count: 0 }));
    if (metric.labels.length === 0) this.at({} as Labels<Label>);
  }

  /** Adds `many` to the series. */
  add(labels: Labels<Label>, now: number, many = 1): void {
    const series = this.at(labels);
    series.value.count += many;
    series.touchedAt = now;
  }

  /** Returns the lines of the metric. */
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

/** Number of observed values that are not greater than each bound. */
export class Histogram<Label extends string> extends Family<Label, Buckets> {
  /** The bounds are in ascending order. The bound `+Inf` is added. */
  constructor(metric: MetricName<Label>, private readonly bounds: readonly number[]) {
    super(metric, () => ({ counts: bounds.map(() => 0), sum: 0, count: 0 }));
  }

  /** Adds a value. */
  observe(labels: Labels<Label>, value: number, now: number): void {
    const series = this.at(labels);
    const buckets = series.value;
    const index = this.bounds.findIndex((bound) => value <= bound);
    if (index >= 0) buckets.counts[index] = (buckets.counts[index] ?? 0) + 1;
    buckets.sum += value;
    buckets.count++;
    series.touchedAt = now;
  }

  /** Returns the lines of the metric. */
  write(): string {
    const { name } = this.metric;
    const bounds = [...this.bounds.map(number), "+Inf"].map((bound) => `le="${bound}"`);
    const lines = this.sorted().map(({ text, value: { counts, sum, count } }) => {
      const before = text === "" ? "" : `${text},`;
      let upTo = 0;
      const buckets = bounds.map((bound, index) => {
        // The last bound is +Inf.
        upTo = index < counts.length ? upTo + (counts[index] ?? 0) : count;
        return `${name}_bucket{${before}${bound}} ${upTo}\n`;
      });
      const labels = braced(text);
      return `${buckets.join("")}${name}_sum${labels} ${number(sum)}\n${name}_count${labels} ${count}\n`;
    });
    return `${head(this.metric, "histogram")}${lines.join("")}`;
  }
}

/** Returns the lines of a gauge, in the order of its labels. */
export function writeGauge<Label extends string>(
  metric: MetricName<Label>,
  samples: readonly Sample<Label>[],
): string {
  return writeSamples(metric, "gauge", samples);
}

/** Prints a counter whose values are counted elsewhere. */
export function writeCounter<Label extends string>(
  metric: MetricName<Label>,
  samples: readonly Sample<Label>[],
): string {
  return writeSamples(metric, "counter", samples);
}

function writeSamples<Label extends string>(
  metric: MetricName<Label>,
  type: "gauge" | "counter",
  samples: readonly Sample<Label>[],
): string {
  const byKey = new Map(samples.map((sample) => [keyOf(metric, sample.labels), sample]));
  const lines = [...byKey].sort(([a], [b]) => a < b ? -1 : 1).map(([, { labels, value }]) =>
    `${metric.name}${braced(printLabels(labels))} ${number(value)}\n`
  );
  return `${head(metric, type)}${lines.join("")}`;
}

function keyOf<Label extends string>({ labels: names }: MetricName<Label>, labels: Labels<Label>): string {
  return JSON.stringify(names.map((name) => labels[name]));
}

function head({ name, help }: MetricName, type: string): string {
  return `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n# TYPE ${name} ${type}\n`;
}

function printLabels(labels: Readonly<Record<string, string>>): string {
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
