// The shop's test orders are dropped; the others get what reports ask for.
import { cents } from 'money';

export function transform(event, meta) {
  const p = event.properties;
  if (p.coupon === 'TEST') return null;
  if (!Array.isArray(p.products)) throw new Error('an order without products');
  p.items = p.products.length;
  p.cents = cents(p.total);
  return event;
}
