// What scripts of this project know about money: import { cents } from 'money'
export function cents(amount) {
  if (typeof amount !== 'number') throw new Error('no amount of money: ' + amount);
  return Math.round(amount * 100);
}
