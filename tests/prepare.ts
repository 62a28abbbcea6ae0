// Fetches what the tests need into .components/, for tasks that run on the machine of the tests (machine.sh).
import { prepareComponents } from "./components.ts";

for (const problem of await prepareComponents((line) => console.error(`prepare: ${line}`))) {
  console.error(`prepare: ${problem}`);
}
