package analytics

import "time"

// Properties are the details of a Track, Page or Screen: any names, any values
// that encoding/json can encode. The Set methods name the properties that the
// e-commerce specification knows; they change the map and return it.
type Properties map[string]any

// NewProperties returns an empty map to chain Set calls on.
func NewProperties() Properties { return make(Properties, 8) }

// Set sets a property of any name.
func (p Properties) Set(name string, value any) Properties {
	p[name] = value
	return p
}

// SetRevenue sets "revenue", an amount in the currency of SetCurrency.
func (p Properties) SetRevenue(revenue float64) Properties { return p.Set("revenue", revenue) }

// SetCurrency sets "currency", an ISO 4217 code.
func (p Properties) SetCurrency(currency string) Properties { return p.Set("currency", currency) }

// SetValue sets "value", what an event without revenue is worth.
func (p Properties) SetValue(value float64) Properties { return p.Set("value", value) }

// SetPath sets "path", the path of a page's address.
func (p Properties) SetPath(path string) Properties { return p.Set("path", path) }

// SetReferrer sets "referrer", the address of the page before.
func (p Properties) SetReferrer(referrer string) Properties { return p.Set("referrer", referrer) }

// SetTitle sets "title", the title of a page.
func (p Properties) SetTitle(title string) Properties { return p.Set("title", title) }

// SetURL sets "url", the whole address of a page.
func (p Properties) SetURL(url string) Properties { return p.Set("url", url) }

// SetName sets "name".
func (p Properties) SetName(name string) Properties { return p.Set("name", name) }

// SetCategory sets "category".
func (p Properties) SetCategory(category string) Properties { return p.Set("category", category) }

// SetSKU sets "sku", the stock keeping unit of a product.
func (p Properties) SetSKU(sku string) Properties { return p.Set("sku", sku) }

// SetPrice sets "price", the price of one product.
func (p Properties) SetPrice(price float64) Properties { return p.Set("price", price) }

// SetProductId sets "id", the id of a product.
func (p Properties) SetProductId(id string) Properties { return p.Set("id", id) }

// SetOrderId sets "orderId", which becomes the column order_id.
func (p Properties) SetOrderId(id string) Properties { return p.Set("orderId", id) }

// SetTotal sets "total", the revenue with discounts, shipping and tax.
func (p Properties) SetTotal(total float64) Properties { return p.Set("total", total) }

// SetSubtotal sets "subtotal", the total without shipping and tax.
func (p Properties) SetSubtotal(subtotal float64) Properties { return p.Set("subtotal", subtotal) }

// SetShipping sets "shipping", the cost of shipping.
func (p Properties) SetShipping(shipping float64) Properties { return p.Set("shipping", shipping) }

// SetTax sets "tax", the tax of an order.
func (p Properties) SetTax(tax float64) Properties { return p.Set("tax", tax) }

// SetDiscount sets "discount", the discount of an order.
func (p Properties) SetDiscount(discount float64) Properties { return p.Set("discount", discount) }

// SetCoupon sets "coupon", the code of a coupon.
func (p Properties) SetCoupon(coupon string) Properties { return p.Set("coupon", coupon) }

// SetProducts sets "products", the lines of an order.
func (p Properties) SetProducts(products ...Product) Properties { return p.Set("products", products) }

// SetRepeat sets "repeat": whether the customer bought before.
func (p Properties) SetRepeat(repeat bool) Properties { return p.Set("repeat", repeat) }

// Product is one line of Properties.SetProducts.
type Product struct {
	ID    string  `json:"id,omitempty"`
	SKU   string  `json:"sku,omitempty"`
	Name  string  `json:"name,omitempty"`
	Price float64 `json:"price"`
}

// Traits are what is known of a user or group: any names, any values that
// encoding/json can encode. A trait that is nil is sent as null and clears it.
// The Set methods name the traits that the specification knows; they change the
// map and return it.
type Traits map[string]any

// NewTraits returns an empty map to chain Set calls on.
func NewTraits() Traits { return make(Traits, 8) }

// Set sets a trait of any name.
func (t Traits) Set(name string, value any) Traits {
	t[name] = value
	return t
}

// SetAddress sets "address".
func (t Traits) SetAddress(address string) Traits { return t.Set("address", address) }

// SetAge sets "age", in years.
func (t Traits) SetAge(age int) Traits { return t.Set("age", age) }

// SetAvatar sets "avatar", the address of a picture.
func (t Traits) SetAvatar(url string) Traits { return t.Set("avatar", url) }

// SetBirthday sets "birthday".
func (t Traits) SetBirthday(date time.Time) Traits { return t.Set("birthday", date) }

// SetCreatedAt sets "createdAt", when the account was made.
func (t Traits) SetCreatedAt(date time.Time) Traits { return t.Set("createdAt", date) }

// SetDescription sets "description".
func (t Traits) SetDescription(description string) Traits { return t.Set("description", description) }

// SetEmail sets "email".
func (t Traits) SetEmail(email string) Traits { return t.Set("email", email) }

// SetFirstName sets "firstName".
func (t Traits) SetFirstName(name string) Traits { return t.Set("firstName", name) }

// SetGender sets "gender".
func (t Traits) SetGender(gender string) Traits { return t.Set("gender", gender) }

// SetLastName sets "lastName".
func (t Traits) SetLastName(name string) Traits { return t.Set("lastName", name) }

// SetName sets "name", the full name.
func (t Traits) SetName(name string) Traits { return t.Set("name", name) }

// SetPhone sets "phone".
func (t Traits) SetPhone(phone string) Traits { return t.Set("phone", phone) }

// SetTitle sets "title", the position of a user in a company.
func (t Traits) SetTitle(title string) Traits { return t.Set("title", title) }

// SetUsername sets "username".
func (t Traits) SetUsername(username string) Traits { return t.Set("username", username) }

// SetWebsite sets "website".
func (t Traits) SetWebsite(url string) Traits { return t.Set("website", url) }

// Integrations say which destinations a message may go to: true, false, or
// options for a destination.
type Integrations map[string]any

// NewIntegrations returns an empty map to chain calls on.
func NewIntegrations() Integrations { return make(Integrations, 4) }

// EnableAll lets the message go to every destination that is not disabled by name.
func (i Integrations) EnableAll() Integrations { return i.Enable("All") }

// DisableAll keeps the message from every destination that is not enabled by name.
func (i Integrations) DisableAll() Integrations { return i.Disable("All") }

// Enable lets the message go to the named destination.
func (i Integrations) Enable(name string) Integrations { return i.Set(name, true) }

// Disable keeps the message from the named destination.
func (i Integrations) Disable(name string) Integrations { return i.Set(name, false) }

// Set gives the named destination options; anything but false enables it.
func (i Integrations) Set(name string, value any) Integrations {
	i[name] = value
	return i
}
