/** The digits of a MAC address, however it is written: two are equal if these are. */
export function macDigits(text: string): string {
  return text.toLowerCase().replaceAll(/[:.-]/g, "");
}
