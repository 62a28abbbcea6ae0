import { CniError } from "../cni/error.ts";
import { isArray } from "../cni/json.ts";
import { didYouMean } from "../cni/near_miss.ts";
import { ADDRESS_RULES } from "./address_rules.ts";
import { CAPABILITY_RULES } from "./capability_rules.ts";
import { CHAIN_RULES } from "./chain_rules.ts";
import { ENGINE_RULES } from "./engine_rules.ts";
import { FILE_RULES } from "./file_rules.ts";
import { KEY_RULES } from "./key_rules.ts";
import { objectOf } from "./network_file.ts";
import { PLUGIN_RULES } from "./plugin_rules.ts";
import { problemAt, type Rule } from "./rule.ts";
import { LINT_EXCLUDES } from "./schema.ts";
import { VALUE_RULES } from "./value_rules.ts";

const UNKNOWN_RULE: Rule = {
  name: "unknown-rule",
  severity: "warning",
  summary: `\`${LINT_EXCLUDES}\` names a rule that does not exist`,
  explanation: "Then the rule that was meant still applies. `podwire lint --rules` lists all rules.",
  check: function* ({ files }) {
    for (const file of files) {
      const excluded = objectOf(file)?.[LINT_EXCLUDES];
      if (!isArray(excluded) || file.read === undefined) continue;
      for (const [at, name] of excluded.entries()) {
        if (typeof name === "string" && ruleOf(name) !== undefined) continue;
        const suggestion = typeof name === "string" ? didYouMean(name, namesOfRules()) : undefined;
        yield problemAt(file.read, [LINT_EXCLUDES, at], `there is no rule ${JSON.stringify(name)}`, {
          suggestion,
        });
      }
    }
  },
};

/** All rules, in the order of the documentation. */
export const RULES: readonly Rule[] = [
  ...ENGINE_RULES,
  ...FILE_RULES,
  ...PLUGIN_RULES,
  ...KEY_RULES,
  ...ADDRESS_RULES,
  ...CAPABILITY_RULES,
  ...CHAIN_RULES,
  ...VALUE_RULES,
  UNKNOWN_RULE,
];

/**
 * Returns the rule of that name.
 *
 * @throws {CniError} kind `usage`, with the name that may have been meant
 */
export function ruleNamed(name: string, flag: string): Rule {
  const rule = ruleOf(name);
  if (rule !== undefined) return rule;
  throw new CniError("usage", `${flag}: there is no rule "${name}"`, {
    hint: didYouMean(name, namesOfRules()) ?? "`podwire lint --rules` lists them",
  });
}

function ruleOf(name: string): Rule | undefined {
  return RULES.find((known) => known.name === name);
}

function namesOfRules(): readonly string[] {
  return RULES.map(({ name }) => name);
}
