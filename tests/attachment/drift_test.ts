import { assertEquals } from "@std/assert";
import { DriftChecks } from "../../lib/attachment/drift_checks.ts";
import { type DriftChange, Drifts } from "../../lib/attachment/drifts.ts";
import type { LostRules } from "../../lib/attachment/rule_repair.ts";
import { RuleWatch } from "../../lib/attachment/rule_watch.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { AttachmentRecord } from "../../lib/state/attachment_store.ts";
import { until } from "../until.ts";
import { Lines } from "./world.ts";

const A = { containerId: "a", network: "net", ifName: "eth0" };
const B = { containerId: "b", network: "net", ifName: "eth0" };
const NEVER_MS = 3_600_000;

function watched(drifts: Drifts): string[] {
  const changes: string[] = [];
  drifts.onChange(({ containerId, state, why }: DriftChange) =>
    changes.push(`${containerId} ${state} ${why}`.trim())
  );
  return changes;
}

Deno.test("an attachment has drifted as long as one of the two who look at it says so, and each change is emitted once", () => {
  const drifts = new Drifts();
  const changes = watched(drifts);
  drifts.take("check", A, "no link");
  drifts.take("check", A, "still no link");
  drifts.takeAll("rules", [{ ...A, why: "no rules" }, { ...B, why: "no rules" }]);
  assertEquals(drifts.current.map(({ containerId }) => containerId), ["a", "b"]);
  drifts.takeAll("rules", []);
  assertEquals(drifts.current.map(({ why }) => why), ["still no link"]);
  drifts.take("check", A, undefined);
  drifts.take("check", A, undefined);
  drifts.repaired(B, "no rules");
  assertEquals(drifts.current, []);
  assertEquals(changes, [
    "a drifted no link",
    "b drifted no rules",
    "b well",
    "a well",
    "b repaired no rules",
  ]);
});

/** Rules that are lost until they are repaired. */
class FakeRules {
  lost: readonly LostRules[] = [];
  busy: readonly string[] = [];
  finds = 0;
  repairs = 0;
  problem: Error | undefined;

  find(): Promise<readonly LostRules[]> {
    this.finds++;
    return this.problem === undefined ? Promise.resolve(this.lost) : Promise.reject(this.problem);
  }

  repair(): Promise<{ lost: readonly LostRules[]; busy: readonly string[] }> {
    this.repairs++;
    const lost = this.lost.filter(({ containerId }) => !this.busy.includes(containerId));
    this.lost = this.lost.filter((one) => !lost.includes(one) || one.error !== undefined);
    return Promise.resolve({ lost, busy: this.busy });
  }
}

const lostOf = (key: typeof A, error?: CniError): LostRules => ({ ...key, missing: ["no rules"], error });

function watchOf(rules: FakeRules, repairs = true) {
  const drifts = new Drifts();
  const log = new Lines();
  const watch = new RuleWatch({ rules, drifts, repairs, log, pollMs: NEVER_MS, gatherMs: 1 });
  return { drifts, log, watch, changes: watched(drifts) };
}

Deno.test("lost rules are repaired at the start and after an event, and a look that finds nothing repairs nothing", async () => {
  const rules = new FakeRules();
  rules.lost = [lostOf(A)];
  const { watch, changes } = watchOf(rules);
  await using _watch = watch;
  watch.start();
  await until(() => changes.length === 1);
  assertEquals(changes, ["a repaired no rules"]);
  assertEquals(rules.repairs, 1);
  const { finds } = rules;
  watch.hurry();
  await until(() => rules.finds > finds);
  assertEquals(rules.repairs, 1);
});

Deno.test("rules that cannot be put back are a drift, and so are all if nothing is to be repaired", async () => {
  for (const repairs of [true, false]) {
    const rules = new FakeRules();
    rules.lost = [lostOf(A, new CniError("io", "the disk is full"))];
    const { watch, changes, drifts } = watchOf(rules, repairs);
    await using _watch = watch;
    watch.start();
    await until(() => changes.length === 1);
    assertEquals(changes, ["a drifted no rules; the disk is full"]);
    assertEquals([drifts.current.length, rules.repairs], [1, repairs ? 1 : 0]);
    rules.lost = [];
    watch.hurry();
    await until(() => changes.length === 2);
    assertEquals(changes[1], "a well");
  }
});

Deno.test("a container with an operation in progress is looked at again without an event", async () => {
  const rules = new FakeRules();
  rules.lost = [lostOf(A)];
  rules.busy = ["a"];
  const { watch, changes } = watchOf(rules);
  await using _watch = watch;
  watch.start();
  await until(() => rules.repairs === 1);
  rules.busy = [];
  await until(() => changes.includes("a repaired no rules"));
});

Deno.test("a problem that stays is logged once", async () => {
  const rules = new FakeRules();
  rules.problem = new CniError("io", "nft is broken");
  const { watch, log } = watchOf(rules);
  await using _watch = watch;
  watch.start();
  await until(() => rules.finds === 1);
  watch.hurry();
  await until(() => rules.finds === 2);
  assertEquals(
    log.all.filter((line) => line.includes("Cannot look for lost rules: nft is broken")).length,
    1,
  );
});

/** A record as far as a check looks at it. */
function recordOf(key: typeof A, interfaces: readonly string[] = [], more: object = {}): AttachmentRecord {
  const config = JSON.stringify({ cniVersion: "1.0.0", name: "net", plugins: [{ type: "t" }], ...more });
  const result = { cniVersion: "1.0.0", interfaces: interfaces.map((name) => ({ name })) };
  return {
    ...key,
    state: "attached",
    config,
    result,
    cniArgs: [],
    capabilityArgs: {},
  } as unknown as AttachmentRecord;
}

function checksOf(records: readonly AttachmentRecord[], intervalMs: number) {
  const drifts = new Drifts();
  const checked: string[] = [];
  const problems = new Map<string, string>();
  const busy = new Set<string>();
  const refused: string[] = [];
  const state = { records };
  const checks = new DriftChecks({
    attachments: {
      check: (_list, { containerId }) => {
        checked.push(containerId);
        const problem = problems.get(containerId);
        return problem === undefined ? Promise.resolve() : Promise.reject(new CniError("not-found", problem));
      },
    },
    mayCheckAgain: () => Promise.resolve(true),
    store: {
      all: () => Promise.resolve(state.records),
      read: ({ containerId }) =>
        Promise.resolve(state.records.find((record) => record.containerId === containerId)),
    },
    locks: {
      containers: {
        tryHold: (id: string) => {
          if (!busy.has(id)) return Promise.resolve({ [Symbol.asyncDispose]: async () => {} });
          refused.push(id);
          return Promise.resolve(undefined);
        },
      },
    } as unknown as ConstructorParameters<typeof DriftChecks>[0]["locks"],
    drifts,
    log: new Lines(),
    intervalMs,
  });
  return { checks, checked, problems, busy, refused, state, changes: watched(drifts) };
}

Deno.test("rounds check all attachments; one that has drifted is looked at sooner, until it is well", async () => {
  const { checks, checked, problems, changes } = checksOf([recordOf(A), recordOf(B)], 50);
  await using _checks = checks;
  problems.set("a", "no link");
  checks.start();
  await until(() => changes.length === 1);
  assertEquals(changes, ["a drifted no link"]);
  await until(() => checked.filter((id) => id === "b").length >= 3);
  // The back-off begins with a second, so the rounds have left it out.
  assertEquals(checked.filter((id) => id === "a").length, 1);
  problems.clear();
  await until(() => changes.length === 2);
  assertEquals(changes[1], "a well");
});

Deno.test("only the attachments on a link that something happened to are checked, and none whose list says disableCheck", async () => {
  const records = [
    recordOf(A, ["br0", "veth1"]),
    recordOf(B, ["br1", "veth2"]),
    recordOf({ ...A, containerId: "c" }, ["br0"], { disableCheck: true }),
  ];
  const { checks, checked, problems, changes } = checksOf(records, 0);
  await using _checks = checks;
  problems.set("a", "no bridge").set("c", "no bridge");
  checks.start();
  await checks.hurryLinks(new Set(["br0"]));
  await until(() => changes.length === 1);
  assertEquals([checked, changes], [["a"], ["a drifted no bridge"]]);
});

Deno.test("a container with an operation in progress is checked when it has ended, and one that is gone has not drifted", async () => {
  const { checks, checked, problems, busy, refused, changes, state } = checksOf([recordOf(A)], 0);
  await using _checks = checks;
  busy.add("a");
  problems.set("a", "no link");
  checks.hurry(A);
  await until(() => refused.length === 1);
  assertEquals(checked, []);
  busy.delete("a");
  await until(() => changes.length === 1);
  state.records = [];
  await until(() => changes.length === 2);
  assertEquals([changes, checked.length], [["a drifted no link", "a well"], 1]);
});
